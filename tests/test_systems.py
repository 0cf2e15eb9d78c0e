import keras
import pytest

from cmpc_tf2.systems import SYSTEMS


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_every_system_matches_its_entry(system):
    assert SYSTEMS[system.name] is system
    assert keras.saving.get_registered_name(system.model_type) == system.registered_name
    assert system.model_type.config_type is system.config_type
