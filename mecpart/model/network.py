"""The mobile edge computing network: one tier of IoT devices (node 0) and N edge servers (nodes 1..N)."""

import warnings
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mecpart.fields import check_record, check_values, integers_to_floats, quantity, short_repr
from mecpart.ledger import LEDGER
from mecpart.validation import (
    LARGEST_INTEGER,
    check_count,
    check_finite_product,
    check_key,
    check_number,
    check_range,
    check_shape,
    check_type,
    is_concrete,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Network:
    """Devices and edge servers of one network (a pytree; SI units).

    A server of speed 0 does not exist: no plan can finish on it and no policy chooses it. Networks of different
    size are padded with such servers so that one compiled function serves them all.

    - `speed`: cycles/s of each node; `speed[0]` is the whole IoT tier, num_devices * device_frequency (f^l, F_n).
    - `num_devices`: D >= 1, a whole number of devices that work side by side and transmit side by side, each on tasks
      of its own: a slot with fewer tasks than devices has no use for the others.
    - `device_frequency`: f^l of one device, Hz.
    - `device_rate_range`: (low, high) of the rate between one device and one server, bytes/s (R_m^n).
    - `wired_rate`: R_max between two servers, bytes/s.
    - `transmit_power`: p, W.
    - `energy_coefficient`: kappa, J s^2 / cycle^3.
    """

    speed: Float[Array, " nodes"] = field(metadata=quantity("cycles/s"))
    num_devices: Float[Array, ""] = field(metadata=quantity(minimum=1.0))
    device_frequency: Float[Array, ""] = field(metadata=quantity("Hz", exclusive=True))
    device_rate_range: Float[Array, "2"] = field(metadata=quantity("bytes/s"))
    wired_rate: Float[Array, ""] = field(metadata=quantity("bytes/s", exclusive=True))
    transmit_power: Float[Array, ""] = field(metadata=quantity("W"))
    energy_coefficient: Float[Array, ""] = field(metadata=quantity("J s^2/cycle^3"))

    __repr__ = short_repr

    def __post_init__(self):
        integers_to_floats(self)

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


def check_network(network: Network, name: str = "network") -> None:
    """Raise `ValueError` where `network` is none, or holds a value of wrong shape, type or range."""
    check_type(name, network, Network, "from make_network or sample_network")
    check_shape(f"{name}.speed", network.speed)
    if np.ndim(network.speed) != 1 or np.size(network.speed) < 2:
        raise ValueError(
            f"{name}.speed must have shape (N + 1,), the IoT tier first and at least one server; "
            f"got shape {np.shape(network.speed)}"
        )
    check_record(name, network, Network, nodes=np.size(network.speed))
    if is_concrete(network.speed):
        check_number(f"{name}.speed[0]", np.asarray(network.speed)[0], exclusive=True)
    check_range(f"{name}.device_rate_range", network.device_rate_range)
    _check_products(network.num_devices, network.device_frequency, network.device_rate_range)
    parts = network.speed, network.num_devices, network.device_frequency
    if is_concrete(parts):
        speed, devices, frequency = (np.asarray(part, np.float64) for part in parts)
        if not np.isclose(speed[0], devices * frequency, rtol=1e-5):
            raise ValueError(
                f"{name}.speed[0] must be num_devices * device_frequency, {devices * frequency:g} cycles/s, as "
                f"make_network has it; got {speed[0]:g}"
            )


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

    Node 0, the IoT tier, is all `num_devices` devices together, each of `device_frequency`: as fast as num_devices *
    device_frequency where a slot has at least as many tasks, for a task never uses more than one of them.

    **Arguments:** `server_speed`: F_n, [N] cycles/s (0: the server does not exist); the others as in `Network`, one
    number each.

    **Raises:** `ValueError` for a value of wrong shape, or that is negative, NaN or infinite, fewer than one device or
    no whole number of them, or a reversed rate range.
    **Warns:** `UserWarning` where some speeds are plainly not in hertz: below 1 kHz, beside others above.
    """
    check_number("server_speed", server_speed)
    if np.ndim(server_speed) != 1 or np.size(server_speed) < 1:
        got = np.shape(server_speed)
        raise ValueError(f"server_speed must have shape (servers,), of at least one server; got {got}")
    check_range("device_rate_range", device_rate_range)
    constants = {
        "num_devices": num_devices,
        "device_frequency": device_frequency,
        "wired_rate": wired_rate,
        "transmit_power": transmit_power,
        "energy_coefficient": energy_coefficient,
    }
    check_values(Network, constants)
    check_devices_whole("num_devices", num_devices)
    _check_products(num_devices, device_frequency, device_rate_range)
    _warn_of_other_units(server_speed=server_speed, device_frequency=device_frequency)
    server_speed = jnp.asarray(server_speed, jnp.float32)
    scalars = {name: jnp.float32(value) for name, value in constants.items()}
    tier = scalars["num_devices"] * scalars["device_frequency"]
    return Network(
        speed=jnp.concatenate([tier[None], server_speed]),
        device_rate_range=jnp.asarray(device_rate_range, jnp.float32),
        **scalars,
    )


def check_devices_whole(name: str, devices) -> None:
    """Raise `ValueError` for a part of a device: the delay model would let it work, and no schedule can."""
    if is_concrete(devices) and float(devices) % 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {float(devices):g}")


def _check_products(num_devices, device_frequency, device_rate_range) -> None:
    """Raise `ValueError` where what is computed of these is too large."""
    check_finite_product("device_frequency^2", device_frequency, device_frequency)
    check_finite_product("num_devices * device_frequency", num_devices, device_frequency)
    check_finite_product("num_devices * device_rate_range", num_devices, device_rate_range)


def _warn_of_other_units(**speeds) -> None:
    """Warn of speeds that are plainly not in hertz; where all of them are small, they are in a unit of their own."""
    if not is_concrete(speeds):
        return
    given = {name: np.asarray(speed, np.float64) for name, speed in speeds.items()}
    given = {name: speed[speed > 0] for name, speed in given.items()}
    if max(np.max(speed, initial=0) for speed in given.values()) < 1e3:
        return
    for name, speed in given.items():
        if np.min(speed, initial=np.inf) < 1e3:
            wrong = f"{name} is in hertz, or cycles/s, such as 3e9; got {np.min(speed):g}, which is below 1 kHz"
            warnings.warn(wrong, UserWarning, stacklevel=3)


def sample_network(
    key: PRNGKeyArray,
    num_servers: int = LEDGER.default("num_servers"),
    *,
    server_speed_range: tuple[float, float] = LEDGER.default("server_speed_range"),
    pad_to: int | None = None,
    **constants,
) -> Network:
    """Draw the speeds of `num_servers` edge servers uniformly from `server_speed_range` (cycles/s).

    Node 0 is the IoT tier: all devices together, each task on one of them, as `make_network` says.

    Server n of a larger network is drawn as in a smaller one, and `pad_to` adds servers that do not exist up to that
    number, so that padding never changes a draw.

    **Arguments:** `key`: a JAX random key; `constants`: any other argument of `make_network`.

    **Raises:** `ValueError` for a number of servers below 1 or above `pad_to`, a reversed range, a bad constant, or
    something else than a key. **Warns** as `make_network`.
    """
    check_key("key", key)
    pad_to = pad_to if pad_to is None else check_count("pad_to", pad_to)
    num_servers = check_count("num_servers", num_servers, maximum=pad_to or LARGEST_INTEGER)
    check_range("server_speed_range", server_speed_range)
    padded = num_servers if pad_to is None else pad_to
    network = make_network(np.zeros(padded), **constants)  # checks the constants before anything is drawn
    _warn_of_other_units(server_speed_range=server_speed_range, device_frequency=network.device_frequency)
    low, high = jnp.asarray(server_speed_range, float)
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
    check_finite_product("noise_density * bandwidth", noise_density, bandwidth)
    check_finite_product("transmit_power * channel_gain", transmit_power, channel_gain)
    given = bandwidth, transmit_power, channel_gain, noise_density
    bandwidth, transmit_power, channel_gain, noise_density = (jnp.asarray(value, float) for value in given)
    noise = noise_density * bandwidth
    # Not log2(1 + ...), which is 0 where the signal is weak.
    return bandwidth * jnp.log1p(transmit_power * channel_gain / noise) / np.log(2) / 8
