def sweep_part(storage, sweep):
    raise NotImplementedError
