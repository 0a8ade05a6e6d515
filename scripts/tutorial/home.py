"""The home app of the tutorial."""

from flask import Flask

import task

app = Flask(__name__)


@app.get("/")
def home():
    return f"My Home, answered by {task.NAME}\n"


task.run(app)
