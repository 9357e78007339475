"""Translates a TensorFlow.js graph of convolutions into ONNX, node by node."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Node = dict[str, Any]
OPSET = 17
IR_VERSION = 9
TO_CHANNELS_FIRST = [0, 3, 1, 2]  # TensorFlow.js puts the channels last, ONNX first
TO_CHANNELS_LAST = [0, 2, 3, 1]


def to_onnx(graph: Path, *, picture: tuple[str, int], heads: dict[str, tuple[str, int]], cells: int) -> bytes:
    """Return the model that leads from `picture`, a name and a width, to `heads`: names, their nodes and channels.

    The picture goes in as 1 x width x width x 3, each head comes out as 1 x cells x cells x channels.
    """
    described = json.loads(graph.read_bytes())
    weights = read_weights(described["weightsManifest"][0]["weights"], graph.with_suffix(".bin").read_bytes())
    translation = Translation({node["name"]: node for node in described["modelTopology"]["node"]}, weights)
    for head, (node, _channels) in heads.items():
        translation.add("Transpose", [translation.of(node)], head, perm=TO_CHANNELS_LAST)
    name, width = picture
    model = helper.make_model(
        helper.make_graph(
            translation.nodes,
            graph.stem,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width, width, 3])],
            [helper.make_tensor_value_info(head, TensorProto.FLOAT, [1, cells, cells, channels])
             for head, (_node, channels) in heads.items()],
            translation.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )  # fmt: skip
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def read_weights(manifest: list[dict[str, Any]], data: bytes) -> dict[str, Array]:
    """Return the weights by name: they lie one after the other, most as half-precision numbers."""
    weights: dict[str, Array] = {}
    offset = 0
    for each in manifest:
        stored = numpy.dtype(each.get("quantization", each)["dtype"])
        count = int(numpy.prod(each["shape"]))
        flat = numpy.frombuffer(data, stored, count, offset)
        weights[each["name"]] = flat.reshape(each["shape"]).astype(each["dtype"])
        offset += count * stored.itemsize
    if offset != len(data):
        raise ValueError(f"the weights are {len(data)} bytes, and their manifest tells of {offset}")
    return weights


class Translation:
    """Follows a graph from its heads to its input, and collects the ONNX nodes and constants on the way."""

    def __init__(self, graph: dict[str, Node], weights: dict[str, Array]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._graph = graph
        self._weights = weights
        self._done: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the name of the tensor that stands for a node's output; translate the node when nobody has."""
        name = name.partition(":")[0]
        if name not in self._done:
            node = self._graph[name]
            translate = TRANSLATIONS.get(node["op"])
            if translate is None:
                raise ValueError(f"there is no translation for {node['op']}, the operation of {name}")
            self._done[name] = translate(self, node)
        return self._done[name]

    def add(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(numpy.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> Array:
        return self._weights[name]


def _constant(to: Translation, node: Node) -> str:
    value = to.weight(node["name"])
    if value.ndim == 1 and value.size > 1:  # one number for each channel
        value = value.reshape(1, -1, 1, 1)
    elif value.ndim == 4:
        value = value.transpose(TO_CHANNELS_FIRST)
    return to.constant(node["name"], value)


def _picture(to: Translation, node: Node) -> str:
    return to.add("Transpose", [node["name"]], f"{node['name']}/turned", perm=TO_CHANNELS_FIRST)


def _convolution(to: Translation, node: Node) -> str:
    name, inputs, attributes = node["name"], node["input"], node["attr"]
    kernel = to.weight(inputs[1])
    groups = 1
    if "Depthwise" in node["op"]:
        groups = kernel.shape[2]
        kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    given = [to.of(inputs[0]), to.constant(f"{name}/kernel", kernel)]
    if len(inputs) > 2:
        given.append(to.constant(f"{name}/bias", to.weight(inputs[2]).reshape(-1)))
    fused = attributes.get("fused_ops", {}).get("list", {}).get("s", [])
    activations = [each for each in map(_text, fused) if each != "BiasAdd"]
    made = to.add(
        "Conv",
        given,
        f"{name}/convolution" if activations else name,
        group=groups,
        strides=_high_and_wide(attributes["strides"]),
        dilations=_high_and_wide(attributes["dilations"]),
        auto_pad="SAME_UPPER" if _text(attributes["padding"]["s"]) == "SAME" else "VALID",
    )
    for activation in activations:
        made = _activated(to, activation, made, name)
    return made


def _activation(to: Translation, node: Node) -> str:
    return _activated(to, node["op"], to.of(node["input"][0]), node["name"])


def _activated(to: Translation, activation: str, before: str, name: str) -> str:
    if activation == "Relu6":
        ends = [to.constant(f"{name}/{end}", numpy.array(end, numpy.float32)) for end in (0, 6)]
        return to.add("Clip", [before, *ends], name)
    if activation not in ("Relu", "Sigmoid", "Identity"):
        raise ValueError(f"there is no translation for {activation}, the activation of {name}")
    return to.add(activation, [before], name)


def _arithmetic(to: Translation, node: Node) -> str:
    return to.add(node["op"], [to.of(each) for each in node["input"]], node["name"])


def _mean(to: Translation, node: Node) -> str:
    if list(to.weight(node["input"][1])) != [1, 2]:
        raise ValueError(f"{node['name']} is a mean over something else than a picture")
    return to.add("GlobalAveragePool", [to.of(node["input"][0])], node["name"])


def _joined(to: Translation, node: Node) -> str:
    *parts, axis = node["input"]
    if int(to.weight(axis)) not in (3, -1):
        raise ValueError(f"{node['name']} joins something else than channels")
    return to.add("Concat", [to.of(part) for part in parts], node["name"], axis=1)


def _doubled(to: Translation, node: Node) -> str:
    scales = to.constant(f"{node['name']}/scales", numpy.array([1, 1, 2, 2], numpy.float32))
    given = [to.of(node["input"][0]), "", scales]
    return to.add("Resize", given, node["name"], mode="linear", coordinate_transformation_mode="asymmetric")


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _high_and_wide(attribute: dict[str, Any]) -> list[int]:
    return [int(each) for each in attribute["list"]["i"]][1:3]


TRANSLATIONS: dict[str, Callable[[Translation, Node], str]] = {
    "Const": _constant,
    "Placeholder": _picture,
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "Relu": _activation,
    "Relu6": _activation,
    "Sigmoid": _activation,
    "Identity": _activation,
    "Add": _arithmetic,
    "AddV2": _arithmetic,
    "Mul": _arithmetic,
    "Mean": _mean,
    "ConcatV2": _joined,
    "ResizeBilinear": _doubled,
}
