# Design-based estimates by R's survey package, the oracle of tests/estimation/test_oracle_r.py.
#
#   python export.py FOLDER && Rscript design.R FOLDER design.json
#
# design.json holds estimates only, no microdata. Columns and designs: see export.py.

suppressPackageStartupMessages(library(survey))
library(jsonlite)
options(survey.lonely.psu = "adjust")
arguments <- commandArgs(trailingOnly = TRUE)
source("quantities.R")
table <- function(name) read.csv(file.path(arguments[1], paste0(name, ".csv")))
canada <- table("canada")
lonely <- table("lonely")
norway <- table("norway")

# psu codes occur in several strata: nest = TRUE makes them one PSU in each
designs <- list(
  elements = svydesign(ids = ~1, strata = ~stratum, weights = ~weight, data = canada),
  elements_fpc = svydesign(ids = ~1, strata = ~stratum, weights = ~weight, fpc = ~n_person, data = canada),
  clusters = svydesign(ids = ~psu, strata = ~stratum, weights = ~weight, nest = TRUE, data = canada),
  clusters_fpc = svydesign(ids = ~psu, strata = ~stratum, weights = ~weight, fpc = ~n_psu, nest = TRUE, data = canada),
  lonely = svydesign(ids = ~psu, strata = ~stratum, weights = ~weight, nest = TRUE, data = lonely),
  lonely_fpc = svydesign(ids = ~psu, strata = ~stratum, weights = ~weight, fpc = ~n_psu, nest = TRUE, data = lonely),
  norway = svydesign(ids = ~psu, strata = ~stratum, weights = ~weight, data = norway)
)

versions <- list(
  r = unbox(R.version.string), survey = unbox(as.character(packageVersion("survey"))), date = unbox(format(Sys.Date())),
  options = unbox('survey.lonely.psu = "adjust"')
)
output <- list(made_by = versions, designs = lapply(designs, quantities))
write(toJSON(output, digits = NA, pretty = TRUE), arguments[2])
