"""Check an installed wheel where there is no compiler: its kernels run, and give what torch gives.

python tests/wheel_without_compiler.py
"""

import os
import time
import warnings


def main() -> None:
    """Run circuits on the kernels of the wheel and on plain torch, and a shipped policy."""
    os.environ["PATH"] = ""  # no compiler is found
    os.environ.pop("CC", None)
    os.environ.pop("NCP_CONTROL_KERNELS", None)
    warnings.simplefilter("error")
    import torch

    begin_s = time.perf_counter()
    import ncp_control
    from ncp_control.kernels import prebuilt

    imported_s = time.perf_counter() - begin_s
    if not prebuilt.FOLDER.is_dir():
        raise SystemExit("error: this installation has no compiled kernels")
    torch.manual_seed(0)
    cells = [ncp_control.LTC(ncp_control.NCP19), ncp_control.CfC(32, 19, 1)]
    for dtype, largest in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        for cell in cells:
            circuit = ncp_control.Circuit(cell.to(dtype))
            inputs = torch.randn(5, 20, 32, dtype=dtype)
            found = run(circuit, inputs)
            os.environ["NCP_CONTROL_KERNELS"] = "reference"
            expected = run(circuit, inputs)
            del os.environ["NCP_CONTROL_KERNELS"]
            for one, other in zip(found, expected, strict=True):
                error = float((one - other).abs().max())
                assert error <= largest * max(1.0, float(other.abs().max())), (cell, dtype, error)
    driver = ncp_control.load("drive-ncp")
    action = driver.act(torch.zeros(78, 200, 3, dtype=torch.uint8).numpy())
    level = prebuilt.usable_levels()[0]
    print(f"kernels of the wheel: {level}; import {imported_s:.2f} s after torch; {action}")


def run(circuit, inputs) -> list:
    """Return outputs and the gradient of every parameter."""
    outputs = circuit(inputs)[0]
    circuit.zero_grad()
    outputs.square().sum().backward()
    return [outputs.detach(), *(p.grad.clone() for p in circuit.parameters())]


if __name__ == "__main__":
    main()
