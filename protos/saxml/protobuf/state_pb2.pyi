from saxml.protobuf import admin_pb2 as _admin_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StateRecord(_message.Message):
    __slots__ = ("sequence", "term", "cell_uid", "leader_address", "models", "operations", "servers", "previous_crc32c", "min_reader_version", "written_unix_ms", "offers", "draining")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    CELL_UID_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CRC32C_FIELD_NUMBER: _ClassVar[int]
    MIN_READER_VERSION_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    term: int
    cell_uid: str
    leader_address: str
    models: _containers.RepeatedCompositeFieldContainer[_admin_pb2.Model]
    operations: _containers.RepeatedCompositeFieldContainer[AppliedOperation]
    servers: _containers.RepeatedCompositeFieldContainer[ServerHint]
    previous_crc32c: int
    min_reader_version: int
    written_unix_ms: int
    offers: _containers.RepeatedCompositeFieldContainer[_admin_pb2.ModelServer]
    draining: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sequence: _Optional[int] = ..., term: _Optional[int] = ..., cell_uid: _Optional[str] = ..., leader_address: _Optional[str] = ..., models: _Optional[_Iterable[_Union[_admin_pb2.Model, _Mapping]]] = ..., operations: _Optional[_Iterable[_Union[AppliedOperation, _Mapping]]] = ..., servers: _Optional[_Iterable[_Union[ServerHint, _Mapping]]] = ..., previous_crc32c: _Optional[int] = ..., min_reader_version: _Optional[int] = ..., written_unix_ms: _Optional[int] = ..., offers: _Optional[_Iterable[_Union[_admin_pb2.ModelServer, _Mapping]]] = ..., draining: _Optional[_Iterable[str]] = ...) -> None: ...

class AppliedOperation(_message.Message):
    __slots__ = ("operation_id", "sequence", "kind", "model_id", "client", "unix_ms", "server")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    sequence: int
    kind: str
    model_id: str
    client: str
    unix_ms: int
    server: str
    def __init__(self, operation_id: _Optional[str] = ..., sequence: _Optional[int] = ..., kind: _Optional[str] = ..., model_id: _Optional[str] = ..., client: _Optional[str] = ..., unix_ms: _Optional[int] = ..., server: _Optional[str] = ...) -> None: ...

class ServerHint(_message.Message):
    __slots__ = ("address", "data_address", "ordered", "offer", "debug_address")
    class OrderedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ORDERED_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    DEBUG_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    data_address: str
    ordered: _containers.ScalarMap[str, bytes]
    offer: int
    debug_address: str
    def __init__(self, address: _Optional[str] = ..., data_address: _Optional[str] = ..., ordered: _Optional[_Mapping[str, bytes]] = ..., offer: _Optional[int] = ..., debug_address: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("holder_address", "incarnation", "term", "renewals", "is_released", "sequence")
    HOLDER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    RENEWALS_FIELD_NUMBER: _ClassVar[int]
    IS_RELEASED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    holder_address: str
    incarnation: str
    term: int
    renewals: int
    is_released: bool
    sequence: int
    def __init__(self, holder_address: _Optional[str] = ..., incarnation: _Optional[str] = ..., term: _Optional[int] = ..., renewals: _Optional[int] = ..., is_released: bool = ..., sequence: _Optional[int] = ...) -> None: ...
