def train_part(storage, result):
    raise NotImplementedError
