# Table of contents of a scale that trains: a scale of released models has none of these rules.


include: "mixes.smk"
include: "sft.smk"
include: "preference.smk"
include: "pretraining.smk"
include: "captioning.smk"
include: "multitask.smk"
include: "measurements.smk"
include: "submission.smk"
include: "best_of.smk"
include: "preference_tables.smk"
include: "captioning_tables.smk"
include: "preference_figures.smk"
include: "captioning_figures.smk"
