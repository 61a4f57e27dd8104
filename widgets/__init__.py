"""The third floor: figures, dashboard pages and JupyterLab explorers over the models in ``lab``."""
