"""Generated stubs of the cell's contract; the .proto files lie beside them."""
