"""The mobile edge computing network: one tier of IoT devices (node 0) and N edge servers (nodes 1..N)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mecpart.ledger import LEDGER
from mecpart.validation import check_count, check_number, check_range, check_shape, is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Network:
    """Devices and edge servers of one network (a pytree; SI units).

    A server of speed 0 does not exist: no plan can finish on it and no policy chooses it. Networks of different
    size are padded with such servers so that one compiled function serves them all.

    - `speed`: cycles/s of each node; `speed[0]` is the whole IoT tier, num_devices * device_frequency (f^l, F_n).
    - `num_devices`: D, devices that work side by side and transmit side by side.
    - `device_frequency`: f^l of one device, Hz.
    - `device_rate_range`: (low, high) of the rate between one device and one server, bytes/s (R_m^n).
    - `wired_rate`: R_max between two servers, bytes/s.
    - `transmit_power`: p, W.
    - `energy_coefficient`: kappa, J s^2 / cycle^3.
    """

    speed: Float[Array, " nodes"]
    num_devices: Float[Array, ""]
    device_frequency: Float[Array, ""]
    device_rate_range: Float[Array, "2"]
    wired_rate: Float[Array, ""]
    transmit_power: Float[Array, ""]
    energy_coefficient: Float[Array, ""]

    @property
    def num_nodes(self) -> int:
        """N + 1, padding included."""
        return self.speed.shape[-1]

    @property
    def num_servers(self) -> int:
        """N, padding included."""
        return self.num_nodes - 1

    @property
    def available(self) -> Bool[Array, " nodes"]:
        """Whether each node exists."""
        return self.speed > 0

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{node}</td><td>{'IoT tier' if node == 0 else f'edge server {node}'}</td>"
            f"<td>{float(speed) / 1e9:.2f}</td></tr>"
            for node, speed in enumerate(self.speed)
        )
        low, high = (float(rate) / 1e6 for rate in self.device_rate_range)
        return (
            f"<table><tr><th>node</th><th></th><th>speed (GHz)</th></tr>{rows}</table>"
            f"<p>{float(self.num_devices):g} devices; uplink {low:g} to {high:g} MB/s per device; "
            f"{float(self.wired_rate) / 1e6:g} MB/s between servers</p>"
        )


def check_network(network: Network) -> None:
    """Raise `ValueError` where a value of `network` is negative, NaN or infinite, or its rate range is reversed."""
    if jnp.ndim(network.speed) != 1 or network.num_nodes < 2:
        raise ValueError(
            "network.speed must have shape (N + 1,), the IoT tier first and at least one server; "
            f"got shape {jnp.shape(network.speed)}"
        )
    check_number("network.speed", network.speed)
    if is_concrete(network.speed):
        check_number("network.speed[0]", np.asarray(network.speed)[0], exclusive=True)
    for name in ("num_devices", "device_frequency", "wired_rate"):
        check_number(f"network.{name}", getattr(network, name), exclusive=True)
    for name in ("transmit_power", "energy_coefficient"):
        check_number(f"network.{name}", getattr(network, name))
    check_range("network.device_rate_range", network.device_rate_range)


def make_network(
    server_speed,
    *,
    num_devices: float = LEDGER.default("num_devices"),
    device_frequency: float = LEDGER.default("device_frequency"),
    device_rate_range: tuple[float, float] = LEDGER.default("device_rate_range"),
    wired_rate: float = LEDGER.default("wired_rate"),
    transmit_power: float = LEDGER.default("transmit_power"),
    energy_coefficient: float = LEDGER.default("energy_coefficient"),
) -> Network:
    """A network of the given servers; every other value defaults to the ledger.

    **Arguments:** `server_speed`: F_n, [N] cycles/s (0: the server does not exist); the others as in `Network`.

    **Raises:** `ValueError` for a negative, NaN or infinite value or a reversed rate range.
    """
    check_number("server_speed", server_speed)
    check_number("num_devices", num_devices, exclusive=True)
    check_number("device_frequency", device_frequency, exclusive=True)
    check_range("device_rate_range", device_rate_range)
    check_number("wired_rate", wired_rate, exclusive=True)
    check_number("transmit_power", transmit_power)
    check_number("energy_coefficient", energy_coefficient)
    check_shape("server_speed", server_speed, (max(np.size(server_speed), 1),))
    server_speed = jnp.asarray(server_speed, jnp.float32)
    devices, frequency = jnp.float32(num_devices), jnp.float32(device_frequency)
    return Network(
        speed=jnp.concatenate([(devices * frequency)[None], server_speed]),
        num_devices=devices,
        device_frequency=frequency,
        device_rate_range=jnp.asarray(device_rate_range, jnp.float32),
        wired_rate=jnp.float32(wired_rate),
        transmit_power=jnp.float32(transmit_power),
        energy_coefficient=jnp.float32(energy_coefficient),
    )


def sample_network(
    key: PRNGKeyArray,
    num_servers: int = LEDGER.default("num_servers"),
    *,
    server_speed_range: tuple[float, float] = LEDGER.default("server_speed_range"),
    pad_to: int | None = None,
    **constants,
) -> Network:
    """Draw the speeds of `num_servers` edge servers uniformly from `server_speed_range` (cycles/s).

    Server n of a larger network is drawn as in a smaller one, and `pad_to` adds servers that do not exist up to that
    number, so that padding never changes a draw.

    **Arguments:** `key`: a JAX random key; `constants`: any other argument of `make_network`.

    **Raises:** `ValueError` for a number of servers below 1 or above `pad_to`, a reversed range, or a bad constant.
    """
    pad_to = pad_to if pad_to is None else check_count("pad_to", pad_to)
    num_servers = check_count("num_servers", num_servers, maximum=pad_to)
    check_range("server_speed_range", server_speed_range)
    padded = num_servers if pad_to is None else pad_to
    network = make_network(np.zeros(padded), **constants)  # checks the constants before anything is drawn
    low, high = server_speed_range
    speed = jax.random.uniform(key, (padded,), minval=low, maxval=high)
    speed = jnp.where(jnp.arange(padded) < num_servers, speed, 0.0)
    return replace(network, speed=jnp.concatenate([network.speed[:1], speed]))


def shannon_rate(bandwidth, transmit_power, channel_gain, noise_density):
    """Achievable rate of a wireless link in bytes/s: B log2(1 + p |h|^2 / (N0 B)) / 8 (text above Eq. 5).

    **Arguments:** bandwidth B, Hz; transmit power p, W; channel power gain |h|^2; noise density N0, W/Hz. Broadcast.
    The paper gives none of these four; its rate range is used instead, and this function is for other analyses.
    """
    for name, value in (("bandwidth", bandwidth), ("noise_density", noise_density)):
        check_number(name, value, exclusive=True)
    for name, value in (("transmit_power", transmit_power), ("channel_gain", channel_gain)):
        check_number(name, value)
    noise = noise_density * bandwidth
    return bandwidth * jnp.log2(1 + transmit_power * channel_gain / noise) / 8
