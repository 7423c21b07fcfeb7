"""`python -m tui`: the window. `lab` starts it as a process of its own and mends the terminal if it is killed."""

import sys


def main() -> int:
    """Run the app; what goes on without it is said at the end."""
    if "--keys" in sys.argv[1:]:
        from tui.palette import every_binding, usable
        from tui.settings import load

        given = usable(load().keys)[0]
        for name, binding in every_binding().items():
            print(f"{name:<28} {given.get(name, binding.key):<36} {binding.description}")
        return 0
    from tui.app import LabApp

    app = LabApp()
    app.run()
    if words := app.going_on():
        print(words)
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
