"""What `--mode=check_data` looks for."""
