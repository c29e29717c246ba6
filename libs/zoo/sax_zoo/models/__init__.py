"""The classes that can be published: small files of numbers."""
