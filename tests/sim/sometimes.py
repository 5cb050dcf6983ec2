"""What is to happen at least so often in the schedules that are always run: without it they prove too little.

About half of what was seen when it was written down. Who makes something rarer has to make more of it, not less of this.
"""

from collections.abc import Mapping
from typing import Final

SOMETIMES: Final[Mapping[str, int]] = {
    # What arrives late, twice, or where it was not meant to.
    "arrived after its sender gave up": 600,
    "arrived after 5 s": 300,
    "arrived twice": 40,
    "arrived at another process than it was sent to": 3,
    # What becomes of commits.
    "commit applied late": 70,
    "commit refused late": 200,
    "commit not answered": 120,
    "outcome unknown": 1_200,
    "write lost with its leader": 120,
    # Leases that end where nobody expects it.
    "lease expired before its holder knew": 90,
    "lease lapsed while it was kept": 190,
    "lease extended": 300,
    # What a view is told, or is not.
    "compacted under a watch": 4,
    "watch gap": 35,
    "watch rewound": 20,
    "watch resumed": 450,
    "stale read": 3,
    # Who dies, stands still, or loses something.
    "kill_instance": 100,
    "kill_leader": 50,
    "kill_owner": 50,
    "pause_leader": 45,
    "pause_owner": 40,
    "stop_owner": 80,
    "kill_agent": 130,
    "pause_agent": 130,
    "power_cut": 65,
    "replace_host": 35,
    "mistake_for_dead": 20,
    "disk_full": 170,
    "move_agent": 25,
    "clock_jump": 35,
    "clock_rate": 30,
    "agent registered itself": 400,
}
