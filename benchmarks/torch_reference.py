"""The supernet of NAS-Bench-201 and its search step in PyTorch, written only for the comparison.

These are eager modules such as searches in PyTorch have. Every edge is a list of operations. They
are mixed one by one, or with a sampled path only the drawn one runs. The backward pass reaches both
the weights and the architecture parameters in both steps. Sizes, optimisers and normalisation are
the same as ours.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


class ReLUConvNorm(nn.Module):
    def __init__(self, features_in, features_out, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(features_in, features_out, kernel, stride, kernel // 2, bias=False)
        self.norm = norm(features_out)

    def forward(self, x):
        return self.norm(self.conv(F.relu(x)))


def norm(features):
    return nn.BatchNorm2d(features, affine=False, track_running_stats=False)


class Zero(nn.Module):
    def forward(self, x):
        return x.mul(0.0)


def operations(features):
    return nn.ModuleList(
        [
            Zero(),
            nn.Identity(),
            ReLUConvNorm(features, features, 1),
            ReLUConvNorm(features, features, 3),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        ]
    )


class Cell(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.edges = nn.ModuleList(operations(features) for _ in EDGES)

    def forward(self, x, weight, index):
        nodes = [x]
        for node in range(1, 4):
            incoming = []
            for edge, (target, source) in enumerate(EDGES):
                if target != node:
                    continue
                choices = self.edges[edge]
                if index is None:
                    incoming.append(
                        sum(
                            op(nodes[source]) * w
                            for op, w in zip(choices, weight[edge], strict=True)
                        )
                    )
                else:
                    drawn = index[edge]
                    incoming.append(
                        sum(
                            weight[edge, i] * choices[i](nodes[source])
                            if i == drawn
                            else weight[edge, i]
                            for i in range(5)
                        )
                    )
            nodes.append(sum(incoming))
        return nodes[-1]


class Reduction(nn.Module):
    def __init__(self, features_in, features_out):
        super().__init__()
        self.first = ReLUConvNorm(features_in, features_out, 3, 2)
        self.second = ReLUConvNorm(features_out, features_out, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(features_in, features_out, 1, bias=False)
        )

    def forward(self, x):
        return self.shortcut(x) + self.second(self.first(x))


class Supernet(nn.Module):
    def __init__(self, channels, cells, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1, bias=False), norm(channels))
        layers = []
        for stage in range(3):
            if stage:
                layers.append(Reduction(channels * 2 ** (stage - 1), channels * 2**stage))
            layers += [Cell(channels * 2**stage) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.norm = norm(4 * channels)
        self.head = nn.Linear(4 * channels, classes)

    def forward(self, x, weight, index=None):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x, weight, index) if isinstance(layer, Cell) else layer(x)
        return self.head(F.relu(self.norm(x)).mean((2, 3)))


def make_step(*, mode, compiled, channels_last, channels, cells, batch, size, device, dtype):
    """Returns a function that takes one weight step and one architecture step."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = Supernet(channels, cells, 10).to(device, memory_format=layout)
    run = torch.compile(net) if compiled else net
    logits = torch.zeros(6, 5, device=device, requires_grad=True)
    images = [
        torch.randn(batch, 3, size, size, device=device).to(memory_format=layout) for _ in range(2)
    ]
    labels = torch.randint(0, 10, (batch,), device=device)
    weights = torch.optim.SGD(net.parameters(), 0.025, 0.9, weight_decay=5e-4, nesterov=True)
    arch = torch.optim.Adam([logits], 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    autocast = torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16")

    def gates():
        if mode == "mixed":
            return F.softmax(logits, -1), None
        noise = -torch.empty_like(logits).exponential_().log()
        soft = F.softmax(F.log_softmax(logits, -1) + noise, -1)
        index = soft.argmax(-1)
        hard = F.one_hot(index, 5).float()
        return hard - soft.detach() + soft, index.tolist()

    def half(images, optimizer):
        optimizer.zero_grad()
        with autocast:
            scores = run(images, *gates())
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        if optimizer is weights:
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    def step():
        half(images[0], weights)
        half(images[1], arch)

    return step
