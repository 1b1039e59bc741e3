import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import LSTM, LTC, NCP19, Circuit
from ncp_control.audit import saliency as audit
from ncp_control.audit.saliency import METHODS, decision, saliency
from ncp_control.cells import Feedforward
from ncp_control.policy.frames import BLOCK_FRAMES
from policies.driving import make_driving_policy


def linear_policy(flat_policy, num_inputs):
    """y = w·x + b on the flattened frame: a dense cell without its hidden layers."""
    cell = Feedforward(num_inputs, num_inputs, 1)
    cell.hidden = nn.Identity()
    policy = flat_policy(Circuit(cell))
    policy.perceive = lambda observation: observation.flatten(1)
    return policy, cell.output.weight.detach()[0]


def test_gradients_of_a_linear_net_are_its_weights(flat_policy):
    policy, weight = linear_policy(flat_policy, 4 * 5 * 3)
    frames = torch.rand(2, 4, 5, 3)
    expected = weight.reshape(4, 5, 3)
    gradient = audit.input_gradient(policy, frames, decision(policy))
    torch.testing.assert_close(gradient, expected.expand(2, -1, -1, -1))
    baseline = torch.rand(2, 4, 5, 3)
    share = audit.integrated_gradients(policy, frames, decision(policy), baseline=baseline)
    torch.testing.assert_close(share, (frames - baseline) * expected)
    scaled = expected.abs().sum(2) / expected.abs().sum(2).max()
    torch.testing.assert_close(saliency(policy, frames, "input_gradient")[1], scaled)


def test_visual_backprop_of_three_layers_worked_by_hand(conv_policy):
    """1 × 4 pixels; each layer one map: double, then pairs summed with stride 2, then tripled."""
    layers = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(1, 2, (1, 2), stride=(1, 2), bias=False),
        nn.ReLU(),
        nn.Conv2d(2, 1, 1, bias=False),
        nn.ReLU(),
    )
    with torch.no_grad():
        layers[0].weight.fill_(2.0)
        layers[2].weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 1, 1, 2))
        layers[4].weight.fill_(3.0)
    policy = conv_policy(LSTM(1, 3, 1), layers)
    frame = torch.tensor([1.0, 2.0, 0.0, 5.0]).reshape(1, 1, 4, 1)
    # Maps: A1 = [2, 4, 0, 10]; A2 = [6, 10] and ReLU(−A2) = 0, mean [3, 5]; A3 = 3·(A2 + 0)
    # = [18, 30]. Down: [18, 30]·[3, 5] = [54, 150]; spread over pairs [54, 54, 150, 150]; times
    # A1: [108, 216, 0, 1500]; the first layer's kernel is one pixel.
    maps = audit.visual_backprop(policy, frame, decision(policy))
    torch.testing.assert_close(maps, torch.tensor([[[108.0, 216.0, 0.0, 1500.0]]]))
    scaled = saliency(policy, frame)
    torch.testing.assert_close(scaled, maps / 1500.0)


def test_spreading_is_a_transposed_convolution_of_ones():
    policy = make_driving_policy("ncp", head="light")
    with audit._recorded_convolutions(policy) as layers:
        policy.perceive(torch.zeros(1, 78, 200, 3, dtype=torch.uint8))
    assert [tuple(layer.input_shape[2:]) for layer in layers] == [(78, 200), (20, 50), (10, 25)]
    for layer in layers:
        relevance, conv = torch.rand(1, 1, *layer.output.shape[2:]), layer.layer
        free = [
            size - (out - 1) * stride + 2 * pad - kernel
            for size, out, stride, pad, kernel in zip(
                layer.input_shape[2:], layer.output.shape[2:], conv.stride, conv.padding,
                conv.kernel_size, strict=True,
            )
        ]  # fmt: skip
        expected = torch.nn.functional.conv_transpose2d(
            relevance, torch.ones(1, 1, *conv.kernel_size),
            stride=conv.stride, padding=conv.padding, output_padding=free,
        )  # fmt: skip
        torch.testing.assert_close(layer.spread(relevance), expected)


@pytest.fixture(scope="module")
def driving():
    """An untrained driving policy, frames with structure, and a state that is not zero."""
    torch.manual_seed(1)
    policy = make_driving_policy("ncp", head="light")
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 255, (3, 6, 10, 3), dtype=np.uint8)
    frames = torch.from_numpy(rough.repeat(13, axis=1).repeat(20, axis=2))
    return policy, frames, 0.3 * torch.randn(3, 19)


@pytest.mark.parametrize("neuron", [None, "command_2", "motor_0"])
def test_maps_agree_with_captum(driving, neuron):
    policy, frames, state = driving
    decide = decision(policy, neuron=neuron, state=state)
    pixels = frames.float().requires_grad_()
    options = {"neuron": neuron, "state": state}

    expected = captum.attr.Saliency(decide).attribute(pixels, abs=False)
    torch.testing.assert_close(audit.input_gradient(policy, frames, decide), expected)

    baseline = audit._blur(frames.float())
    expected = captum.attr.IntegratedGradients(decide).attribute(
        pixels, baseline, n_steps=8, method="riemann_middle", internal_batch_size=len(frames)
    )
    ours = audit.integrated_gradients(policy, frames, decide, steps=8)
    torch.testing.assert_close(ours, expected.to(ours), rtol=1e-3, atol=1e-9)

    relu = policy.head.convolutions[-1]
    grad_cam = captum.attr.LayerGradCam(lambda x: decide(x).abs(), relu)
    coarse = grad_cam.attribute(pixels, relu_attributions=True)
    fine = torch.nn.functional.interpolate(coarse, (78, 200), mode="bilinear")[:, 0]
    largest = fine.flatten(1).amax(1).clamp_min(1e-30)[:, None, None]
    torch.testing.assert_close(saliency(policy, frames, "grad_cam", **options), fine / largest)


def test_integrated_gradients_sum_to_the_difference_they_explain(driving):
    policy, frames, state = driving
    decide = decision(policy, state=state)
    share = audit.integrated_gradients(policy, frames, decide, steps=100)
    with torch.no_grad():
        difference = decide(frames) - decide(audit._blur(frames.float()))
    torch.testing.assert_close(share.sum((1, 2, 3)), difference, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["ncp", "lstm", "cnn"])
def test_every_method_maps_every_model(model, method):
    policy = make_driving_policy(model, head="light")
    frames = torch.randint(0, 255, (2, 78, 200, 3), dtype=torch.uint8)
    maps = saliency(policy, frames, method)
    assert maps.shape == (2, 78, 200)
    assert maps.min() >= 0.0 and not maps.requires_grad
    # Where every map pulls the output back to zero, Grad-CAM has nothing to show.
    assert all(top == 1.0 or (method == "grad_cam" and top == 0.0) for top in maps.amax((1, 2)))


@pytest.mark.parametrize("method", METHODS)
def test_frozen_weights_and_inference_mode_change_no_map(driving, method):
    policy, frames, _ = driving
    expected = saliency(policy, frames, method)
    policy.requires_grad_(False)
    try:
        with torch.inference_mode():
            found = saliency(policy, frames, method)
    finally:
        policy.requires_grad_(True)
    torch.testing.assert_close(found, expected)


def test_map_of_a_frame_rests_on_the_history(driving):
    """The map of frame t, given the recorded state before it, is that of the whole sequence."""
    policy, frames, _ = driving
    pixels = frames.float()[None].requires_grad_()
    actions, _ = policy(pixels)
    (of_last,) = torch.autograd.grad(actions[0, -1, 0], pixels)
    with torch.no_grad():
        activity = policy.circuit.record(policy.perceive(frames)[None])
    state = activity.states_before
    assert not state[0].any()
    torch.testing.assert_close(state[1:], activity.states[0, :-1])
    ours = audit.input_gradient(policy, frames[2:], decision(policy, state=state[2:]))
    torch.testing.assert_close(ours[0], of_last[0, 2])
    other = audit.input_gradient(policy, frames[2:], decision(policy))
    assert (ours - other).abs().max() > 1e-3 * ours.abs().max(), "the state counts"


def test_frames_are_cut_into_chunks_that_do_not_matter(driving, monkeypatch):
    policy, frames, state = driving
    whole = saliency(policy, frames, "input_gradient", state=state)
    monkeypatch.setattr(audit, "BLOCK_FRAMES", 2)
    torch.testing.assert_close(saliency(policy, frames, "input_gradient", state=state), whole)


@pytest.mark.parametrize("method", METHODS)
def test_more_frames_than_a_policy_sees_at_once_have_the_maps_of_each(method):
    policy = make_driving_policy("ncp")
    frames = torch.randint(0, 256, (BLOCK_FRAMES + 8, 78, 200, 3), dtype=torch.uint8)
    explain = METHODS[method]
    together = explain(policy, frames, decision(policy))
    alone = explain(policy, frames[-1:], decision(policy))
    assert together.shape == frames.shape[:3]
    torch.testing.assert_close(together[-1:], alone, rtol=1e-3, atol=1e-3 * alone.max().item())


@pytest.mark.parametrize("method", ["visual_backprop", "grad_cam"])
def test_without_convolutions_there_is_one_sentence(flat_policy, method):
    policy, _ = linear_policy(flat_policy, 60)
    with pytest.raises(ValueError, match=r"`policy` must have convolutions .*input_gradient"):
        saliency(policy, torch.rand(1, 4, 5, 3), method)


def test_mistakes_are_named(driving, flat_policy):
    policy, frames, _ = driving
    with pytest.raises(ValueError, match=r"`method` must be one of .*'visual_backprop'\?"):
        saliency(policy, frames, "visual_backprob")
    with pytest.raises(ValueError, match=r"`neuron` must be one of .*'command_1'"):
        saliency(policy, frames, "input_gradient", neuron="comand_1")
    with pytest.raises(ValueError, match=r"`neuron` must be None for 'visual_backprop'"):
        saliency(policy, frames, neuron="command_1")
    with pytest.raises(ValueError, match=r"`action` must be from 0 to 0, got 1"):
        saliency(policy, frames, "input_gradient", action=1)
    with pytest.raises(ValueError, match=r"`observations` must be frames .* got shape \(2, 17\)"):
        saliency(flat_policy(Circuit(LTC(NCP19))), torch.zeros(2, 17), "input_gradient")
    broken = make_driving_policy("ncp", head="light")
    with torch.no_grad():
        broken.head.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="finite maps, got nan for frame 0"):
        saliency(broken, frames, "input_gradient")
