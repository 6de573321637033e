"""What all jobs share: from settings to records, and from records to files."""
