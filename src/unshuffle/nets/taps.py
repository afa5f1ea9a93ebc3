"""Where a probe is put: the outputs of a network's convolutional layers."""

from __future__ import annotations

from torch import nn

STAGES = ("layer1", "layer2", "layer3", "layer4")


def taps(net: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs are the maps of a network's layers, from the input on.

    Of a chain of convolutions (AlexNet, VGG16, SmallConv) those are its ReLUs, ``conv1``, ``conv2`` and so on; of a
    residual network the first ReLU, ``conv1``, and its four stages. A network around such a backbone has the taps of
    the backbone.

    Args:
        net: any module.

    Returns:
        The modules by name; none where the network has no such layers.

    Example:
        >>> from unshuffle.nets import AlexNet, ResNet
        >>> list(taps(AlexNet().build(3)))
        ['conv1', 'conv2', 'conv3', 'conv4', 'conv5']
        >>> list(taps(ResNet(18).build(3)))
        ['conv1', 'layer1', 'layer2', 'layer3', 'layer4']

    Source: SeLa, section 4.1: "right after the ReLU layer in each of the five blocks".
    """
    for module in net.modules():
        if all(hasattr(module, name) for name in ("relu", *STAGES)):
            return {"conv1": module.relu, **{name: getattr(module, name) for name in STAGES}}  # type: ignore[dict-item]
        if isinstance(module, nn.Sequential) and any(isinstance(child, nn.Conv2d) for child in module):
            rectified = [child for child in module if isinstance(child, nn.ReLU)]
            if rectified:
                return {f"conv{number}": child for number, child in enumerate(rectified, start=1)}
    return {}
