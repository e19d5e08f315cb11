"""`pila`: the command line. Each group of commands is loaded when it is asked for, so `--help` is quick."""

import importlib
from typing import Final

import click

GROUPS: Final = {
    "backup": ("tools.commands.backup", "backup"),
    "catalog": ("tools.commands.catalogue", "catalog"),
    "check-db": ("tools.commands.diagnosis", "check_db"),
    "checkpoint": ("tools.commands.verification", "checkpoint"),
    "config": ("tools.commands.network", "config"),
    "definition": ("tools.commands.catalogue", "definition"),
    "demo": ("tools.commands.demo", "demo"),
    "disclose": ("tools.commands.verification", "disclose"),
    "genesis": ("tools.commands.network", "genesis"),
    "governance": ("tools.commands.governance", "governance"),
    "init": ("tools.commands.network", "init"),
    "institution": ("tools.commands.institution", "institution"),
    "issue": ("tools.commands.credentials", "issue"),
    "key": ("tools.commands.keys", "key"),
    "pathway": ("tools.commands.catalogue", "pathway"),
    "recovery": ("tools.commands.recovery", "recovery"),
    "prune": ("tools.commands.data", "prune"),
    "refresh": ("tools.commands.verification", "refresh"),
    "replay": ("tools.commands.diagnosis", "replay_command"),
    "reinstate": ("tools.commands.credentials", "reinstate"),
    "restore": ("tools.commands.backup", "restore"),
    "revoke": ("tools.commands.credentials", "revoke"),
    "signer": ("tools.commands.signer", "signer"),
    "snapshot": ("tools.commands.data", "snapshot"),
    "stack": ("tools.commands.credentials", "stack"),
    "start": ("tools.commands.network", "start"),
    "status": ("tools.commands.network", "status"),
    "supersede": ("tools.commands.credentials", "supersede"),
    "suspend": ("tools.commands.credentials", "suspend"),
    "testnet": ("tools.commands.network", "testnet"),
    "validator": ("tools.commands.validator", "validator"),
    "validators": ("tools.commands.network", "validators"),
    "verify": ("tools.commands.verification", "verify"),
    "why-stalled": ("tools.commands.network", "why_stalled"),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used or its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- the signature is click's
        """Return the names of all commands."""
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- see above
        """Return one command, importing its module."""
        if cmd_name not in GROUPS:
            return None
        module, name = GROUPS[cmd_name]
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when one is mistyped."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], GROUPS, n=1)
            if near:
                raise click.UsageError(f"{error.format_message()} Did you mean {near[0]!r}?", ctx) from None
            raise


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "obj": {"json": False}})
@click.version_option(package_name="pila-node", prog_name="pila")
def main() -> None:
    """Pila: issue, revoke, stack and verify microcredentials on a chain that institutions keep together.

    Every command takes --json and --help. Exit codes: 0 done, 1 the answer is no, 2 unusable input or
    unreachable node.
    """


if __name__ == "__main__":
    main()
