"""The page: what is stored, why it missed and what it saved, in a process of its own. It needs the extra `proxy`."""
