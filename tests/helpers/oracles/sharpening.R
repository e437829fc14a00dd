# Generalised regression estimates by R's survey package, of those who were asked in `sharpening.py`.
#
#   python sharpening.py FOLDER && Rscript sharpening.R FOLDER sharpening.json

suppressPackageStartupMessages(library(survey))
library(jsonlite)
arguments <- commandArgs(trailingOnly = TRUE)
told <- fromJSON(file.path(arguments[1], "ppi.json"))
people <- subset(read.csv(file.path(arguments[1], "people.csv")), !is.na(answer))
people$yes <- people$answer - 1
people$weight <- told$population$size / nrow(people)
design <- svydesign(ids = ~1, weights = ~weight, data = people)
totals <- c(`(Intercept)` = told$population$size, by_kind = told$population$expected)
greg <- svymean(~yes, calibrate(design, ~by_kind, population = totals, calfun = "linear"))
plain <- svymean(~yes, design)
output <- list(
  made_by = list(
    r = unbox(R.version.string), survey = unbox(as.character(packageVersion("survey"))),
    ppi_python = unbox(told$ppi$version), date = unbox(format(Sys.Date()))
  ),
  ppi = lapply(told$ppi[c("estimate", "low", "high")], unbox),
  plain = list(estimate = unbox(coef(plain)[[1]]), se = unbox(as.numeric(SE(plain)))),
  greg = list(estimate = unbox(coef(greg)[[1]]), se = unbox(as.numeric(SE(greg))))
)
write(toJSON(output, digits = NA, pretty = TRUE), arguments[2])
