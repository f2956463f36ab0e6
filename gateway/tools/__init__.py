"""What the command line runs beside the server: doctor, evaluation, terminal output."""
