"""How a wrapped application is found and called: the same in the server and in its worker processes."""
