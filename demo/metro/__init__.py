"""Hangzhou's metro as a SQLite database, built from the CSV files in this folder."""
