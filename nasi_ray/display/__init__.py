"""What people see of any job: progress, numbers and tables in text, figures."""
