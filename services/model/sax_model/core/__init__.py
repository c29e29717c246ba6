"""Decisions of the model server as functions of values: no loop, thread, clock, socket or protobuf."""
