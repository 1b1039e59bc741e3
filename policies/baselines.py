"""What a driving circuit is measured against, on the same features.

Source: Lechner et al. 2020: an LSTM of 64 units (24,897 parameters after the head), and a
feed-forward network. Differs: the paper's CNN has dense layers of five million parameters on the
raw maps; ours shares the head's 32 features, so the only difference is memory.
"""

from ncp_control.cells import LSTM, Feedforward
from ncp_control.policy.heads import NUM_FEATURES


def lstm_cell(frame_s: float) -> LSTM:
    """Return the paper's LSTM: 64 units, one output."""
    return LSTM(NUM_FEATURES, 64, 1, frame_s=frame_s)


def feedforward_cell(frame_s: float) -> Feedforward:
    """Return two dense layers of 64 units without memory, one output."""
    return Feedforward(NUM_FEATURES, 64, 1, frame_s=frame_s)
