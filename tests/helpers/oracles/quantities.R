# What is computed under a design, of whichever kind: design.R and replicates.R source it.

result <- function(estimate) {
  list(estimate = unname(coef(estimate)), covariance = unname(as.matrix(vcov(estimate))))
}

# svycontrast takes no lists for regressions under replicate weights
contrasts_of <- function(fit, wanted) {
  if (!inherits(fit, "svrepglm")) return(result(svycontrast(fit, wanted)))
  by_row <- do.call(rbind, wanted)
  list(estimate = as.vector(by_row %*% coef(fit)), covariance = unname(by_row %*% vcov(fit) %*% t(by_row)))
}

# the coefficient of a binary attribute alone
slope <- function(formula, design) {
  fit <- svyglm(formula, design)
  list(estimate = unname(coef(fit)[2]), covariance = unname(vcov(fit)[2, 2, drop = FALSE]))
}

quantities <- function(design) {
  answered <- subset(design, !is.na(option))
  k <- max(answered$variables$option)
  one_hot <- paste0("option", 1:k)
  for (i in 1:k) answered$variables[[one_hot[i]]] <- as.numeric(answered$variables$option == i)
  options_formula <- as.formula(paste("~", paste(one_hot, collapse = "+")))
  response <- function(domain) result(svymean(options_formula, domain))

  # shift of every option from men to women, with the covariances between options
  by_sex <- svyby(options_formula, ~female, answered, svymean, covmat = TRUE)
  shifts <- lapply(1:k, function(i) {
    weights <- rep(0, 2 * k)
    # svyby stacks the options: (option 1: men, women), (option 2: men, women), ... as coef() says
    weights[match(paste0(c("0:", "1:"), one_hot[i]), names(coef(by_sex)))] <- c(-1, 1)
    weights
  })
  names(shifts) <- one_hot

  # is the difference between women and men another one among those with a degree?
  by_cell <- svyby(~score, ~female + degree, subset(answered, !is.na(degree)), svymean, covmat = TRUE)
  moderation <- c("0.0" = 1, "1.0" = -1, "0.1" = -1, "1.1" = 1)[names(coef(by_cell))]

  # free effect in every cell, and their average with the cells' weighted shares held fixed
  in_cells <- subset(answered, !is.na(cell))
  cells <- sort(unique(in_cells$variables$cell))
  in_cells$variables$cell <- factor(in_cells$variables$cell, levels = cells)
  saturated <- svyglm(score ~ female * cell, in_cells)
  names_in_fit <- names(coef(saturated))
  effect_in <- lapply(cells, function(cell) {
    as.numeric(names_in_fit == "female" | names_in_fit == paste0("female:cell", cell))
  })
  names(effect_in) <- paste0("cell", cells)
  share <- tapply(weights(in_cells, "sampling"), in_cells$variables$cell, sum) / sum(weights(in_cells, "sampling"))
  average <- Reduce(`+`, Map(`*`, effect_in, share))

  list(
    degrees_of_freedom = unbox(degf(design)),
    response_all = response(answered),
    response_women = response(subset(answered, female == 1)),
    response_women_degree = response(subset(answered, female == 1 & degree == 1)),
    shift_female = result(svycontrast(by_sex, shifts)),
    effect_female = slope(score ~ female, answered),
    effect_female_on_binary = slope(binary ~ female, design),
    effect_degree_women = slope(score ~ degree, subset(answered, female == 1 & !is.na(degree))),
    moderation_female_by_degree = result(svycontrast(by_cell, list(moderation = moderation))),
    effect_female_cells = contrasts_of(saturated, effect_in),
    effect_female_average = contrasts_of(saturated, list(average = average))
  )
}
