"""A server process: a store, a controller and the doors, from settings to a clean end."""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from harpoon.agent import daemon
from harpoon.agent.client import HttpTransport
from harpoon.agent.settings import AgentSettings
from harpoon.api.app import Doors, check_bind, make_app, run_site
from harpoon.config import ServerSettings
from harpoon.control.controller import Controller, HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from harpoon.store.sqlite import SqliteStore

_log = structlog.get_logger(__name__)
