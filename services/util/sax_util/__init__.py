"""The command line of a Sax cell: saxutil, also called sax."""
