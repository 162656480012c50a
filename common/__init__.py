"""What the three datasets share: the method at the top, and one folder per stage below it (README.md)."""
