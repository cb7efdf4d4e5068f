"""Say a call of one dialect in another, and its answers in the first again. Pure functions of the request and the answer."""
