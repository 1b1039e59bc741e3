"""A policy's ONNX model, run by ONNX Runtime, with the methods of the policy."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.onnx.export import to_onnx
from ncp_control.deploy.onnx.graph import find_package
from ncp_control.deploy.sensed import Sensed
from ncp_control.policy import Policy


class OnnxController:
    """Controller with a policy's methods `act` and `reset`, computed by an ONNX model.

    Args:
        policy: The policy, whose weights are copied, or the path of an exported model.
        threads: Number of threads that ONNX Runtime may use for one operation.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If onnxruntime (or, for a policy, onnx) is not installed.
        ValueError: If a part of the policy has no ONNX graph, or the file is not an exported model.

    Example:
        >>> steering = OnnxController("exported/drive-ncp/controller.onnx").act(frame, dt_s=1 / 30)
    """

    def __init__(self, policy: Policy | Path | str, *, threads: int = 1) -> None:
        content = to_onnx(policy).content if isinstance(policy, Policy) else Path(policy)
        self.session = open_session(content, threads)
        try:
            inputs = {value.name: value for value in self.session.get_inputs()}
            self.properties: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
            self.frame_s = float(json.loads(self.properties["frame_s"]))
            contract = json.loads(self.properties["contract"])
            contract = None if contract is None else Contract.from_json(contract)
            observation, state = inputs["observation"], inputs["state"]
            numbers = inputs["numbers"].shape[1] if "numbers" in inputs else 0
            shape = tuple(observation.shape[1:])
            if observation.type == "tensor(uint8)":
                self._sensed = Sensed.frames(shape, numbers, contract)
            else:
                self._sensed = Sensed(shape=shape, dtype=np.float32, contract=contract)
            self.state = np.zeros(state.shape[1], np.float32)
            """Hidden state, shape (state,), float32; it may be set."""
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                "`policy` must be a model that ncp-control exported, got one whose properties or"
                f" inputs are others ({error}). Export the policy again."
            ) from error

    def act(
        self, observation: np.ndarray | dict[str, Any], dt_s: float | None = None
    ) -> np.ndarray:
        """Return the action for one observation and update the state; see `Policy.act`.

        Raises:
            ValueError: If the observation or the time is invalid, as in `Policy.act`, or the state
                is no longer finite; the state is then reset.
        """
        converted = self._sensed.read(observation)
        elapsed_s = self.frame_s if dt_s is None else dt_s
        if not self._sensed.can_act(converted, elapsed_s):
            raise self._sensed.refusal(converted, elapsed_s)
        feed = self._sensed.inputs(converted[None])
        feed |= {"state": self.state[None], "dt_s": np.array([elapsed_s], np.float32)}
        try:
            action, state = self.session.run(["action", "next_state"], feed)
        except Exception as error:  # ONNX Runtime has a separate class for each failure
            raise ValueError(
                f"`policy` must be a whole model, got one that fails: {str(error)[:300]}. Export"
                " the policy again."
            ) from error
        if not (np.isfinite(state).all() and np.isfinite(action).all()):
            self.reset()
            raise self._sensed.refusal(converted, elapsed_s, is_state=True)
        self.state[:] = state[0]
        return action[0]

    def reset(self) -> None:
        """Reset the hidden state; call this when an episode begins."""
        self.state[:] = 0.0


def open_session(model: bytes | Path, threads: int = 1) -> Any:
    """Open a model in ONNX Runtime on the CPU and return the session.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If onnxruntime is not installed.
        ValueError: If the content is not a model that runs here.
    """
    runtime = find_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if isinstance(model, Path):
        if not model.is_file():
            raise FileNotFoundError(f"No ONNX model: {model}. Export the policy first.")
        source: Any = os.fspath(model)
    else:
        source = model
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a separate class for each failure
        raise ValueError(
            f"`policy` must be an ONNX model that can be run here, got one that cannot:"
            f" {str(error)[:300]}. Export the policy again."
        ) from error
