"""Analysis of policies: saliency, neuron activity, memory, robustness and certified bounds."""
