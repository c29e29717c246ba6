from saxml.protobuf import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Location(_message.Message):
    __slots__ = ("location",)
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    location: str
    def __init__(self, location: _Optional[str] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("fs_root", "admin_acl", "cell_uid")
    FS_ROOT_FIELD_NUMBER: _ClassVar[int]
    ADMIN_ACL_FIELD_NUMBER: _ClassVar[int]
    CELL_UID_FIELD_NUMBER: _ClassVar[int]
    fs_root: str
    admin_acl: str
    cell_uid: str
    def __init__(self, fs_root: _Optional[str] = ..., admin_acl: _Optional[str] = ..., cell_uid: _Optional[str] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("models", "last_generation")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LAST_GENERATION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    last_generation: int
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., last_generation: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("model_id", "model_path", "checkpoint_path", "requested_num_replicas", "acls", "admin_acl", "overrides", "uuid", "method_names", "generation")
    class OverridesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_PATH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_PATH_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_NUM_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ACLS_FIELD_NUMBER: _ClassVar[int]
    ADMIN_ACL_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    METHOD_NAMES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    model_path: str
    checkpoint_path: str
    requested_num_replicas: int
    acls: _common_pb2.AccessControlLists
    admin_acl: str
    overrides: _containers.ScalarMap[str, str]
    uuid: bytes
    method_names: _containers.RepeatedScalarFieldContainer[str]
    generation: int
    def __init__(self, model_id: _Optional[str] = ..., model_path: _Optional[str] = ..., checkpoint_path: _Optional[str] = ..., requested_num_replicas: _Optional[int] = ..., acls: _Optional[_Union[_common_pb2.AccessControlLists, _Mapping]] = ..., admin_acl: _Optional[str] = ..., overrides: _Optional[_Mapping[str, str]] = ..., uuid: _Optional[bytes] = ..., method_names: _Optional[_Iterable[str]] = ..., generation: _Optional[int] = ...) -> None: ...

class PublishedModel(_message.Message):
    __slots__ = ("model", "modelet_addresses", "replicas", "shortfall_reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODELET_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_REASON_FIELD_NUMBER: _ClassVar[int]
    model: Model
    modelet_addresses: _containers.RepeatedScalarFieldContainer[str]
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaStatus]
    shortfall_reason: str
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., modelet_addresses: _Optional[_Iterable[str]] = ..., replicas: _Optional[_Iterable[_Union[ReplicaStatus, _Mapping]]] = ..., shortfall_reason: _Optional[str] = ...) -> None: ...

class ReplicaStatus(_message.Message):
    __slots__ = ("address", "data_address", "status", "failure_reason", "failed_loads", "retry_in_ms")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    FAILED_LOADS_FIELD_NUMBER: _ClassVar[int]
    RETRY_IN_MS_FIELD_NUMBER: _ClassVar[int]
    address: str
    data_address: str
    status: _common_pb2.ModelStatus
    failure_reason: str
    failed_loads: int
    retry_in_ms: int
    def __init__(self, address: _Optional[str] = ..., data_address: _Optional[str] = ..., status: _Optional[_Union[_common_pb2.ModelStatus, str]] = ..., failure_reason: _Optional[str] = ..., failed_loads: _Optional[int] = ..., retry_in_ms: _Optional[int] = ...) -> None: ...

class ModelServer(_message.Message):
    __slots__ = ("chip_type", "chip_topology", "servable_model_paths", "tags")
    class ChipType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHIP_TYPE_UNKNOWN: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V2: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V3: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V4I: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V4: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_P100: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_V100: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_A100: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_CPU: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_T4: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_H100: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V5E: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_GPU_L4: _ClassVar[ModelServer.ChipType]
        CHIP_TYPE_TPU_V6E: _ClassVar[ModelServer.ChipType]
    CHIP_TYPE_UNKNOWN: ModelServer.ChipType
    CHIP_TYPE_TPU_V2: ModelServer.ChipType
    CHIP_TYPE_TPU_V3: ModelServer.ChipType
    CHIP_TYPE_TPU_V4I: ModelServer.ChipType
    CHIP_TYPE_TPU_V4: ModelServer.ChipType
    CHIP_TYPE_GPU_P100: ModelServer.ChipType
    CHIP_TYPE_GPU_V100: ModelServer.ChipType
    CHIP_TYPE_GPU_A100: ModelServer.ChipType
    CHIP_TYPE_CPU: ModelServer.ChipType
    CHIP_TYPE_GPU_T4: ModelServer.ChipType
    CHIP_TYPE_GPU_H100: ModelServer.ChipType
    CHIP_TYPE_TPU_V5E: ModelServer.ChipType
    CHIP_TYPE_GPU_L4: ModelServer.ChipType
    CHIP_TYPE_TPU_V6E: ModelServer.ChipType
    class ChipTopology(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHIP_TOPOLOGY_UNKNOWN: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_1X1: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X2: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_16X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_16X32: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_32X32: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_1X1X1: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_1X2X1: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X2X1: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X2X2: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X2X4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X4X4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X4X4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X4X8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X4X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X8X8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X8X12: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X2: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_1: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X8X8: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_2X4: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X16X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X16X32: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X16X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_8X8X16: _ClassVar[ModelServer.ChipTopology]
        CHIP_TOPOLOGY_4X8X16: _ClassVar[ModelServer.ChipTopology]
    CHIP_TOPOLOGY_UNKNOWN: ModelServer.ChipTopology
    CHIP_TOPOLOGY_1X1: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X2: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_16X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_16X32: ModelServer.ChipTopology
    CHIP_TOPOLOGY_32X32: ModelServer.ChipTopology
    CHIP_TOPOLOGY_1X1X1: ModelServer.ChipTopology
    CHIP_TOPOLOGY_1X2X1: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X2X1: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X2X2: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X2X4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X4X4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X4X4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X4X8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X4X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X8X8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X8X12: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X2: ModelServer.ChipTopology
    CHIP_TOPOLOGY_1: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X8X8: ModelServer.ChipTopology
    CHIP_TOPOLOGY_2X4: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X16X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X16X32: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X16X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_8X8X16: ModelServer.ChipTopology
    CHIP_TOPOLOGY_4X8X16: ModelServer.ChipTopology
    CHIP_TYPE_FIELD_NUMBER: _ClassVar[int]
    CHIP_TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    SERVABLE_MODEL_PATHS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    chip_type: ModelServer.ChipType
    chip_topology: ModelServer.ChipTopology
    servable_model_paths: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, chip_type: _Optional[_Union[ModelServer.ChipType, str]] = ..., chip_topology: _Optional[_Union[ModelServer.ChipTopology, str]] = ..., servable_model_paths: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelServerTypeStat(_message.Message):
    __slots__ = ("chip_type", "chip_topology", "num_replicas")
    CHIP_TYPE_FIELD_NUMBER: _ClassVar[int]
    CHIP_TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    NUM_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    chip_type: ModelServer.ChipType
    chip_topology: ModelServer.ChipTopology
    num_replicas: int
    def __init__(self, chip_type: _Optional[_Union[ModelServer.ChipType, str]] = ..., chip_topology: _Optional[_Union[ModelServer.ChipTopology, str]] = ..., num_replicas: _Optional[int] = ...) -> None: ...

class JoinedModelServer(_message.Message):
    __slots__ = ("model_server", "address", "last_join_ms", "loaded_models", "failure_reasons", "debug_address", "data_address", "errors_per_second", "successes_per_second", "mean_latency_in_seconds", "is_dormant", "pending_requests")
    class LoadedModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.ModelStatus
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.ModelStatus, str]] = ...) -> None: ...
    class FailureReasonsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_SERVER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LAST_JOIN_MS_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASONS_FIELD_NUMBER: _ClassVar[int]
    DEBUG_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SUCCESSES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MEAN_LATENCY_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IS_DORMANT_FIELD_NUMBER: _ClassVar[int]
    PENDING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    model_server: ModelServer
    address: str
    last_join_ms: int
    loaded_models: _containers.ScalarMap[str, _common_pb2.ModelStatus]
    failure_reasons: _containers.ScalarMap[str, str]
    debug_address: str
    data_address: str
    errors_per_second: float
    successes_per_second: float
    mean_latency_in_seconds: float
    is_dormant: bool
    pending_requests: int
    def __init__(self, model_server: _Optional[_Union[ModelServer, _Mapping]] = ..., address: _Optional[str] = ..., last_join_ms: _Optional[int] = ..., loaded_models: _Optional[_Mapping[str, _common_pb2.ModelStatus]] = ..., failure_reasons: _Optional[_Mapping[str, str]] = ..., debug_address: _Optional[str] = ..., data_address: _Optional[str] = ..., errors_per_second: _Optional[float] = ..., successes_per_second: _Optional[float] = ..., mean_latency_in_seconds: _Optional[float] = ..., is_dormant: bool = ..., pending_requests: _Optional[int] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("model", "operation_id", "last_seen_sequence")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    operation_id: str
    last_seen_sequence: int
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., operation_id: _Optional[str] = ..., last_seen_sequence: _Optional[int] = ...) -> None: ...

class UnpublishRequest(_message.Message):
    __slots__ = ("model_id", "operation_id", "last_seen_sequence")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    operation_id: str
    last_seen_sequence: int
    def __init__(self, model_id: _Optional[str] = ..., operation_id: _Optional[str] = ..., last_seen_sequence: _Optional[int] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("model", "operation_id", "last_seen_sequence", "expected_generation", "allow_downtime")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DOWNTIME_FIELD_NUMBER: _ClassVar[int]
    model: Model
    operation_id: str
    last_seen_sequence: int
    expected_generation: int
    allow_downtime: bool
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., operation_id: _Optional[str] = ..., last_seen_sequence: _Optional[int] = ..., expected_generation: _Optional[int] = ..., allow_downtime: bool = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("published_models",)
    PUBLISHED_MODELS_FIELD_NUMBER: _ClassVar[int]
    published_models: _containers.RepeatedCompositeFieldContainer[PublishedModel]
    def __init__(self, published_models: _Optional[_Iterable[_Union[PublishedModel, _Mapping]]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("model_server_type_stats", "num_servers_by_servable_model_path")
    class NumServersByServableModelPathEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_SERVER_TYPE_STATS_FIELD_NUMBER: _ClassVar[int]
    NUM_SERVERS_BY_SERVABLE_MODEL_PATH_FIELD_NUMBER: _ClassVar[int]
    model_server_type_stats: _containers.RepeatedCompositeFieldContainer[ModelServerTypeStat]
    num_servers_by_servable_model_path: _containers.ScalarMap[str, int]
    def __init__(self, model_server_type_stats: _Optional[_Iterable[_Union[ModelServerTypeStat, _Mapping]]] = ..., num_servers_by_servable_model_path: _Optional[_Mapping[str, int]] = ...) -> None: ...

class WatchLocRequest(_message.Message):
    __slots__ = ("model_id", "seqno", "admin_server_id")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SEQNO_FIELD_NUMBER: _ClassVar[int]
    ADMIN_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    seqno: int
    admin_server_id: str
    def __init__(self, model_id: _Optional[str] = ..., seqno: _Optional[int] = ..., admin_server_id: _Optional[str] = ...) -> None: ...

class WatchResult(_message.Message):
    __slots__ = ("next_seqno", "has_fullset", "values", "changelog")
    class Mutation(_message.Message):
        __slots__ = ("addition", "deletion")
        ADDITION_FIELD_NUMBER: _ClassVar[int]
        DELETION_FIELD_NUMBER: _ClassVar[int]
        addition: str
        deletion: str
        def __init__(self, addition: _Optional[str] = ..., deletion: _Optional[str] = ...) -> None: ...
    NEXT_SEQNO_FIELD_NUMBER: _ClassVar[int]
    HAS_FULLSET_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CHANGELOG_FIELD_NUMBER: _ClassVar[int]
    next_seqno: int
    has_fullset: bool
    values: _containers.RepeatedScalarFieldContainer[str]
    changelog: _containers.RepeatedCompositeFieldContainer[WatchResult.Mutation]
    def __init__(self, next_seqno: _Optional[int] = ..., has_fullset: bool = ..., values: _Optional[_Iterable[str]] = ..., changelog: _Optional[_Iterable[_Union[WatchResult.Mutation, _Mapping]]] = ...) -> None: ...

class WatchLocResponse(_message.Message):
    __slots__ = ("result", "admin_server_id", "term")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ADMIN_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    result: WatchResult
    admin_server_id: str
    term: int
    def __init__(self, result: _Optional[_Union[WatchResult, _Mapping]] = ..., admin_server_id: _Optional[str] = ..., term: _Optional[int] = ...) -> None: ...

class WaitForReadyRequest(_message.Message):
    __slots__ = ("model_id", "num_replicas")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    NUM_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    num_replicas: int
    def __init__(self, model_id: _Optional[str] = ..., num_replicas: _Optional[int] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("address", "model_server", "debug_address", "data_address", "incarnation", "highest_term")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SERVER_FIELD_NUMBER: _ClassVar[int]
    DEBUG_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_TERM_FIELD_NUMBER: _ClassVar[int]
    address: str
    model_server: ModelServer
    debug_address: str
    data_address: str
    incarnation: str
    highest_term: int
    def __init__(self, address: _Optional[str] = ..., model_server: _Optional[_Union[ModelServer, _Mapping]] = ..., debug_address: _Optional[str] = ..., data_address: _Optional[str] = ..., incarnation: _Optional[str] = ..., highest_term: _Optional[int] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class UnpublishResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class WaitForReadyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("term",)
    TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    def __init__(self, term: _Optional[int] = ...) -> None: ...

class ListServersRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class ListServersResponse(_message.Message):
    __slots__ = ("servers", "absent_draining", "leader_address", "term", "sequence", "unix_ms")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_DRAINING_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[ServerState]
    absent_draining: _containers.RepeatedScalarFieldContainer[str]
    leader_address: str
    term: int
    sequence: int
    unix_ms: int
    def __init__(self, servers: _Optional[_Iterable[_Union[ServerState, _Mapping]]] = ..., absent_draining: _Optional[_Iterable[str]] = ..., leader_address: _Optional[str] = ..., term: _Optional[int] = ..., sequence: _Optional[int] = ..., unix_ms: _Optional[int] = ...) -> None: ...

class ServerState(_message.Message):
    __slots__ = ("address", "data_address", "debug_address", "model_server", "presence", "silent_ms", "is_draining", "is_ending", "is_dormant", "is_original", "total_bytes", "used_bytes", "models")
    class Presence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PRESENCE_UNKNOWN: _ClassVar[ServerState.Presence]
        PRESENCE_NEW: _ClassVar[ServerState.Presence]
        PRESENCE_ALIVE: _ClassVar[ServerState.Presence]
        PRESENCE_SUSPECT: _ClassVar[ServerState.Presence]
        PRESENCE_DEAD: _ClassVar[ServerState.Presence]
    PRESENCE_UNKNOWN: ServerState.Presence
    PRESENCE_NEW: ServerState.Presence
    PRESENCE_ALIVE: ServerState.Presence
    PRESENCE_SUSPECT: ServerState.Presence
    PRESENCE_DEAD: ServerState.Presence
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DEBUG_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SERVER_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    SILENT_MS_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    IS_ENDING_FIELD_NUMBER: _ClassVar[int]
    IS_DORMANT_FIELD_NUMBER: _ClassVar[int]
    IS_ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    address: str
    data_address: str
    debug_address: str
    model_server: ModelServer
    presence: ServerState.Presence
    silent_ms: int
    is_draining: bool
    is_ending: bool
    is_dormant: bool
    is_original: bool
    total_bytes: int
    used_bytes: int
    models: _containers.RepeatedCompositeFieldContainer[HeldModel]
    def __init__(self, address: _Optional[str] = ..., data_address: _Optional[str] = ..., debug_address: _Optional[str] = ..., model_server: _Optional[_Union[ModelServer, _Mapping]] = ..., presence: _Optional[_Union[ServerState.Presence, str]] = ..., silent_ms: _Optional[int] = ..., is_draining: bool = ..., is_ending: bool = ..., is_dormant: bool = ..., is_original: bool = ..., total_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., models: _Optional[_Iterable[_Union[HeldModel, _Mapping]]] = ...) -> None: ...

class HeldModel(_message.Message):
    __slots__ = ("model_id", "status", "failure_reason", "memory_bytes", "load_fraction", "queued_requests", "running_requests", "steps_finished", "step_age_ms", "successes_per_second", "errors_per_second", "mean_latency_seconds", "p99_latency_seconds", "is_waiting_for_place")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FRACTION_FIELD_NUMBER: _ClassVar[int]
    QUEUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    STEP_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    SUCCESSES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ERRORS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MEAN_LATENCY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_LATENCY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IS_WAITING_FOR_PLACE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    status: _common_pb2.ModelStatus
    failure_reason: str
    memory_bytes: int
    load_fraction: float
    queued_requests: int
    running_requests: int
    steps_finished: int
    step_age_ms: int
    successes_per_second: float
    errors_per_second: float
    mean_latency_seconds: float
    p99_latency_seconds: float
    is_waiting_for_place: bool
    def __init__(self, model_id: _Optional[str] = ..., status: _Optional[_Union[_common_pb2.ModelStatus, str]] = ..., failure_reason: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., load_fraction: _Optional[float] = ..., queued_requests: _Optional[int] = ..., running_requests: _Optional[int] = ..., steps_finished: _Optional[int] = ..., step_age_ms: _Optional[int] = ..., successes_per_second: _Optional[float] = ..., errors_per_second: _Optional[float] = ..., mean_latency_seconds: _Optional[float] = ..., p99_latency_seconds: _Optional[float] = ..., is_waiting_for_place: bool = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("address", "operation_id", "last_seen_sequence")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    address: str
    operation_id: str
    last_seen_sequence: int
    def __init__(self, address: _Optional[str] = ..., operation_id: _Optional[str] = ..., last_seen_sequence: _Optional[int] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class UndrainRequest(_message.Message):
    __slots__ = ("address", "operation_id", "last_seen_sequence")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    address: str
    operation_id: str
    last_seen_sequence: int
    def __init__(self, address: _Optional[str] = ..., operation_id: _Optional[str] = ..., last_seen_sequence: _Optional[int] = ...) -> None: ...

class UndrainResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...
