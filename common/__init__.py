"""What the three datasets share: the method at the top, and one folder a stage below it (README.md, "The house")."""
