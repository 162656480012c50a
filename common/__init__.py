"""What the three datasets share: the method at the top, and one folder a stage below it (see README.md, "The house")."""
