"""Everything the three datasets share, in the order the data flow (see README.md, "How it is built")."""
