"""WA Gateway: the api and the dashboard ask the gateway; the gateway remembers in the store and speaks
through the engine.

    __main__ → cli → runtime → server     composition root: nobody imports it
    api · dashboard                       doors: machines | people
    gateway                               what the appliance does
    store · engine                        memory | WhatsApp
    model                                 the words all of them use
    operations                            the other commands: backup, restore, doctor, user, export, logs …
    tls · certificates · reload           what changes while it serves
    data_dir · control · exchange         who holds the data, how to ask them, how it is replaced whole
    config · logs · systemd · heap · assets · form_stream · one_router · scratch      tools
"""

__version__ = "0.1.0"
