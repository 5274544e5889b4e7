"""The site's settings without a limit on registrations: the tests register hundreds of clients from one address."""

from config.settings import *  # noqa: F403
from config.settings import AUTHAPP

AUTHAPP |= {"REGISTRATION_BURST": 0}
