from saxml.protobuf import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TestRequest(_message.Message):
    __slots__ = ("model_key", "text")
    MODEL_KEY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    model_key: str
    text: str
    def __init__(self, model_key: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class TestRequestWithExtraInput(_message.Message):
    __slots__ = ("test_request", "extra_inputs")
    TEST_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EXTRA_INPUTS_FIELD_NUMBER: _ClassVar[int]
    test_request: TestRequest
    extra_inputs: _common_pb2.ExtraInputs
    def __init__(self, test_request: _Optional[_Union[TestRequest, _Mapping]] = ..., extra_inputs: _Optional[_Union[_common_pb2.ExtraInputs, _Mapping]] = ...) -> None: ...
