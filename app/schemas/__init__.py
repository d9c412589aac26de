"""What goes over the wire, as clients may rely on it."""
