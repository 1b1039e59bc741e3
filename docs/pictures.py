"""Draw pictures of the site: `python docs/pictures.py` writes docs/pictures/*.png, inspector.png.

Everything follows from the equations, a fixed seed and a shipped policy. The picture of the
inspector's page needs Chromium with its driver, and `selenium`.
"""

import shutil
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from selenium import webdriver

matplotlib.use("agg")
from matplotlib import pyplot as plt

from ncp_control import LTC, NCP19, Circuit
from ncp_control.cells.synaptic import inverse_softplus
from ncp_control.commands.demo import Demo, demo
from ncp_control.drawing import draw_wiring
from ncp_control.wiring import Synapse, Wiring

FOLDER = Path(__file__).parent / "pictures"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
"""Blue and vermilion of Okabe & Ito, which the colour-blind tell apart."""
MOMENT = "#t=3.767&follow=motor_0&keep=command_0&keep=inter_5&silent=command_1"
"""What the inspector shows: where the command changes most without one of its neurons."""
FRAME_S = 0.005
CAPACITANCE_S = 0.1


def one_neuron() -> LTC:
    """Return one neuron with one excitatory synapse: C = 0.1 s, g = 0.5, w = 2, E = 1."""
    wiring = Wiring(
        num_sensory=1,
        num_inter=0,
        num_command=0,
        num_motor=1,
        synapses=(Synapse(source=0, target=1, sign=1),),
    )
    cell = LTC(wiring, frame_s=FRAME_S)
    positive = {
        "raw_capacitance": CAPACITANCE_S / FRAME_S,
        "raw_leak_conductance": 0.5,
        "raw_weight": 2.0,
        "raw_reversal": 1.0,
    }
    plain = {"leak_potential": 0.0, "threshold": 0.5, "slope": 8.0}
    with torch.no_grad():
        for name, value in positive.items():
            parameter = getattr(cell, name)
            parameter.copy_(inverse_softplus(torch.full_like(parameter, value)))
        for name, value in plain.items():
            getattr(cell, name).fill_(value)
    return cell


def draw_response() -> None:
    """A small and a large input: how fast one neuron answers, and its time constant."""
    time_s = np.arange(0.0, 1.6, FRAME_S)
    is_on = (time_s >= 0.2) & (time_s < 0.8)
    cell = one_neuron()
    figure, axes = plt.subplots(3, 1, figsize=(7, 5.2), sharex=True, layout="constrained")
    for height, colour, name in ((0.4, BLUE, "small input"), (1.0, ORANGE, "large input")):
        seen = np.where(is_on, height, 0.0)
        features = torch.tensor(seen, dtype=torch.float32)[None, :, None]
        with torch.no_grad():
            activity = Circuit(cell).record(features)
        assert activity.timescales_s is not None
        axes[0].plot(time_s, seen, color=colour, label=name)
        axes[1].plot(time_s, activity.states[0, :, 0], color=colour)
        axes[2].plot(time_s, 1000.0 * activity.timescales_s[0, :, 0], color=colour)
    names = ("input u", "potential v", "time constant\nτ [ms]")
    for axis, name in zip(axes, names, strict=True):
        axis.set_ylabel(name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="upper right")
    axes[2].set_xlabel("time [s]")
    axes[2].set_ylim(0.0, None)
    save(figure, "response")


def draw_circuit() -> None:
    """The wiring of the driving circuit, layer by layer."""
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    draw_wiring(NCP19, axes=axes)
    save(figure, "wiring")


def photograph_inspector() -> None:
    """The page of `ncp demo drive-ncp` in a browser, at a bend, with one neuron silenced."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        demo(Demo(page=page, open=False))
        for flag in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}",
        ):
            options.add_argument(flag)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri() + MOMENT)
        browser.execute_async_script("setTimeout(arguments[0], 1000)")  # pictures are decoded
        browser.save_screenshot(FOLDER.parent / "inspector.png")
        browser.quit()


def save(figure: plt.Figure, name: str) -> None:
    """Write a picture."""
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    draw_response()
    draw_circuit()
    photograph_inspector()
