"""How a checkpoint's files hold its matrices: plainly, or in the ways of quantised hub checkpoints.

A `Stored` says which tensors the files hold in effect (`shapes`) and gives each of them (`read`), either
as a plain tensor or, where it may stay in 4 or 8 bits, as a `Bank`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vlm.records import InputError
from vlm.weights.banks import Bank, Int8Bank, bitsandbytes, four_bit
from vlm.weights.streamed import for_device

Shape = tuple[int, ...]
Get = Callable[[str], Tensor]
HELP = "give the checkpoint in bfloat16; --quantize nf4 makes it small while loading"


def stored_in(config: Mapping) -> Stored:
    """The way that ``quantization_config`` of a config.json names. Raises InputError for unknown ones."""
    settings = config.get("quantization_config") or {}
    method = settings.get("quant_method")
    if not settings:
        return Stored({})
    if method == "bitsandbytes" or settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return Bnb8(settings) if settings.get("load_in_8bit") else Bnb4(settings)
    if method == "fp8":
        return Fp8(settings)
    if method == "awq":
        return Awq(settings)
    raise InputError(f"checkpoints quantised with {method!r} are not supported: {HELP}")


class Stored:
    """Plain tensors."""

    mode: str | None = None  # the mode of `vlm.weights.quantize` that the matrices are in already

    def __init__(self, settings: Mapping):
        self.settings = settings

    def shapes(self, found: dict[str, Shape], get: Get) -> dict[str, Shape]:
        """Official name → shape of every tensor, the parts of packed matrices put together."""
        return found

    def key(self, name: str) -> str:
        """The stored tensor that holds most of ``name``: it is read with the file that has it."""
        return name

    def read(self, name: str, get: Get, device: torch.device, dtype: torch.dtype | None) -> Tensor | Bank:
        return get(name)


class Bnb4(Stored):
    """bitsandbytes nf4 or fp4: ``weight`` holds the codes, ``weight.absmax`` and others the scales."""

    def __init__(self, settings: Mapping):
        super().__init__(settings)
        self.mode = settings.get("bnb_4bit_quant_type", "fp4")

    def shapes(self, found: dict[str, Shape], get: Get) -> dict[str, Shape]:
        """Shapes of packed matrices stand in a small tensor of JSON beside each."""
        self._packed: dict[str, list[str]] = {}
        for key in found:
            name, mark, _ = key.partition(".weight.")
            if mark:
                self._packed.setdefault(f"{name}.weight", []).append(key)
        shapes = dict(found)
        for name, parts in self._packed.items():
            for part in parts:
                del shapes[part]
            shapes[name] = tuple(self._state(name, get, torch.device("cpu")).shape)
        return shapes

    def read(self, name, get, device, dtype):
        if name not in self._packed:
            return get(name)
        state = self._state(name, get, device)
        state.dtype = dtype or state.dtype
        return for_device(four_bit([(get(name).to(device, copy=True), state)]))

    def _state(self, name: str, get: Get, device: torch.device):
        """bitsandbytes' description of one matrix, copied out of the files."""
        parts = {key.removeprefix(f"{name}."): get(key).clone() for key in self._packed[name]}
        try:
            return bitsandbytes().functional.QuantState.from_dict(parts, device)
        except (ValueError, KeyError, AssertionError) as error:
            raise InputError(
                f"{name} is not stored as bitsandbytes stores 4-bit weights ({error}): {HELP}"
            ) from error


class Bnb8(Stored):
    """bitsandbytes int8: ``weight`` int8 (N, K), ``SCB`` float32 (N,), and a format mark."""

    mode = "int8"

    def shapes(self, found: dict[str, Shape], get: Get) -> dict[str, Shape]:
        self._packed = {key.removesuffix("SCB") + "weight" for key in found if key.endswith(".SCB")}
        return {key: shape for key, shape in found.items() if not key.endswith((".SCB", ".weight_format"))}

    def read(self, name, get, device, dtype):
        if name not in self._packed:
            return get(name)
        scales = get(name.removesuffix("weight") + "SCB")
        values, scales = (part.to(device, copy=True)[None] for part in (get(name), scales))
        return Int8Bank(tuple(values.shape[1:]), dtype or torch.bfloat16, values=values, scales=scales)


class Fp8(Stored):
    """float8 with one scale for each block of, as a rule, 128 × 128: ``weight`` and ``weight_scale_inv``.

    Read into bfloat16: these checkpoints are made for GPUs that multiply float8 themselves.
    """

    def shapes(self, found: dict[str, Shape], get: Get) -> dict[str, Shape]:
        self._packed = {key.removesuffix("_scale_inv") for key in found if key.endswith("_scale_inv")}
        return {
            key: shape for key, shape in found.items() if not key.endswith(("_scale_inv", "activation_scale"))
        }

    def read(self, name, get, device, dtype):
        if name not in self._packed:
            return get(name)
        weight, scales = get(name), get(f"{name}_scale_inv").float()
        rows, columns = self.settings.get("weight_block_size") or weight.shape[-2:]
        full = (-(-weight.shape[-2] // rows), -(-weight.shape[-1] // columns))
        if scales.dim() == 0 or scales.numel() == 1:
            return (weight.float() * scales).to(dtype or torch.bfloat16)
        if tuple(scales.shape[-2:]) != full:
            raise InputError(
                f"{name}: scales of {tuple(scales.shape)} do not fit blocks of {rows} × {columns}"
            )
        out = torch.empty(weight.shape, dtype=dtype or torch.bfloat16)
        for band in range(full[0]):  # a band at a time: the whole matrix in float32 would be large
            part = slice(band * rows, (band + 1) * rows)
            spread = scales[..., band, None, :].repeat_interleave(columns, -1)[..., : weight.shape[-1]]
            out[..., part, :] = weight[..., part, :].float() * spread
        return out


class Awq(Stored):
    """AWQ in its GEMM order: ``qweight`` (K, N/8) and ``qzeros`` (K/G, N/8) int32, ``scales`` (K/G, N).

    Read into the scales' dtype. Eight columns share an int32; nibble i holds column ``ORDER[i]`` of them.
    """

    ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

    def __init__(self, settings: Mapping):
        super().__init__(settings)
        version, bits = str(settings.get("version", "gemm")).lower(), settings.get("bits", 4)
        if version != "gemm" or bits != 4 or not settings.get("zero_point", True):
            raise InputError(
                f"AWQ checkpoints of version {version} with {bits} bits are not supported: {HELP}"
            )

    def shapes(self, found: dict[str, Shape], get: Get) -> dict[str, Shape]:
        bases = [key.removesuffix("qweight") for key in found if key.endswith(".qweight")]
        self._packed = {f"{base}weight": base for base in bases}
        parts = {base + part for base in bases for part in ("qweight", "qzeros", "scales")}
        shapes = {key: shape for key, shape in found.items() if key not in parts}
        for name, base in self._packed.items():
            inputs, packed = found[f"{base}qweight"]
            shapes[name] = (packed * 8, inputs)
        return shapes

    def key(self, name: str) -> str:
        return f"{self._packed[name]}qweight" if name in self._packed else name

    def read(self, name, get, device, dtype):
        if name not in self._packed:
            return get(name)
        base = self._packed[name]
        scales, zeros = get(f"{base}scales"), self._unpack(get(f"{base}qzeros"))
        group = get(f"{base}qweight").shape[0] // len(scales)
        out = torch.empty(scales.shape[1], group * len(scales), dtype=dtype or scales.dtype)
        for index in range(len(scales)):  # a group of inputs at a time, as for float8
            part = slice(index * group, (index + 1) * group)
            whole = self._unpack(get(f"{base}qweight")[part]) - zeros[index]  # (G, N)
            out[:, part] = (whole * scales[index].float()).t()
        return out

    def _unpack(self, packed: Tensor) -> Tensor:
        """(…, N/8) int32 → (…, N) float32 of 0 … 15."""
        shifts = 4 * torch.tensor(self.ORDER).argsort()
        return ((packed[..., None] >> shifts) & 15).flatten(-2).float()
