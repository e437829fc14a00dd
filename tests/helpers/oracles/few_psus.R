# CR2 and Satterthwaite degrees of freedom by R's clubSandwich, the oracle of tests/estimation/test_few_psus.py.
#
#   Rscript few_psus.R few_psus.json
#
# Draws its own data (small integers, so that they read back as they are) and writes them beside the results.

suppressPackageStartupMessages(library(clubSandwich))
library(jsonlite)
arguments <- commandArgs(trailingOnly = TRUE)
set.seed(1)

# sizes: PSUs and how many people each has; treated: share of the treated among a PSU's people
case <- function(sizes, treated, weighted) {
  psu <- rep(seq_along(sizes), sizes)
  arm <- unlist(mapply(function(n, share) as.integer(seq_len(n) <= round(n * share)), sizes, treated, SIMPLIFY = FALSE))
  y <- rbinom(length(psu), 1, plogis(rnorm(length(sizes), sd = 0.5)[psu] + 0.3 * arm))
  w <- if (weighted) sample(1:4, length(psu), replace = TRUE) else rep(1L, length(psu))
  fit <- lm(y ~ arm, weights = w)
  # inverseVar = FALSE: weights are sampling weights, the working model has one variance
  test <- coef_test(fit, vcov = vcovCR(fit, cluster = psu, type = "CR2", inverse_var = FALSE), test = "Satterthwaite")
  plain <- vcovCR(fit, cluster = psu, type = "CR0", inverse_var = FALSE)
  list(psu = psu, arm = arm, y = y, weight = w, effect = test$beta[2], se = test$SE[2], df = test$df_Satt[2],
       se_plain = sqrt(plain[2, 2]))
}

whole <- function(treated, psus) as.integer(seq_len(psus) <= treated)
cases <- list(
  "2 of 20" = case(rep(10, 20), whole(2, 20), FALSE),
  "3 of 20" = case(rep(10, 20), whole(3, 20), FALSE),
  "10 of 20" = case(rep(10, 20), whole(10, 20), FALSE),
  "3 of 50" = case(rep(10, 50), whole(3, 50), FALSE),
  "4 of 8" = case(rep(10, 8), whole(4, 8), FALSE),
  "4 of 12, sizes differ" = case(c(3, 30, 8, 15, 4, 9, 20, 12, 6, 6, 25, 10), whole(4, 12), FALSE),
  "8, arms within" = case(c(12, 20, 8, 16, 30, 10, 14, 18), c(0.25, 0.5, 0.5, 0.75, 0.2, 0.5, 0.5, 0.5), FALSE),
  "3 of 15, weighted" = case(rep(12, 15), whole(3, 15), TRUE)
)
versions <- list(
  r = unbox(R.version.string), clubSandwich = unbox(as.character(packageVersion("clubSandwich"))),
  date = unbox(format(Sys.Date()))
)
write(toJSON(list(made_by = versions, cases = cases), digits = NA), arguments[1])
