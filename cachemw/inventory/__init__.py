"""The inventory of a store: which records there are, which of them are meant, and what is done with those."""
