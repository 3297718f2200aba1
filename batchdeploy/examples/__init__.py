"""Example projects that use the library through its public interface."""
