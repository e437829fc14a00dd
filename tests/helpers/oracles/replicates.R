# Estimates under replicate weights by R's survey package, the oracle of tests/estimation/test_replicates.py.
#
#   python replicates.py FOLDER && Rscript replicates.R FOLDER replicates.json
#
# replicates.json holds estimates only, no microdata. How the weights are made: see replicates.py.

suppressPackageStartupMessages(library(survey))
library(jsonlite)
arguments <- commandArgs(trailingOnly = TRUE)
source("quantities.R")

design_of <- function(kind) {
  file <- function(suffix) file.path(arguments[1], paste0(kind, suffix))
  told <- fromJSON(file(".json"))
  mse <- isTRUE(told$mse)
  told$mse <- NULL
  do.call(svrepdesign, c(
    list(data = read.csv(file(".csv")), weights = ~weight, repweights = "rw[0-9]+", combined.weights = TRUE, mse = mse),
    told
  ))
}

kinds <- sub(".csv", "", list.files(arguments[1], "csv$"), fixed = TRUE)
found <- lapply(setNames(kinds, kinds), function(kind) {
  design <- design_of(kind)
  numbers <- quantities(design)
  # svyglm's average holds the cells' shares fixed, which is no estimate of a replicate's
  numbers$effect_female_average <- NULL
  women <- subset(design, !is.na(option) & female == 1)
  c(numbers, list(scale = unbox(design$scale), degrees_of_freedom_women = unbox(degf(women))))
})
versions <- list(
  r = unbox(R.version.string), survey = unbox(as.character(packageVersion("survey"))), date = unbox(format(Sys.Date()))
)
write(toJSON(list(made_by = versions, kinds = found), digits = NA, pretty = TRUE), arguments[2])
