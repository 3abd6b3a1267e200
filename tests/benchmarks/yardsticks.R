# metafor as a yardstick of fits.py; the protocol is that of fits_workers.Worker.
# Run: Rscript yardsticks.R DIRECTORY
options(warn = -1, digits = 17)
say <- function(...) {
  cat(..., "\n", sep = "")
  flush(stdout())
}
if (!requireNamespace("metafor", quietly = TRUE)) {
  say("absent metafor")
  say("ready")
  quit(status = 0)
}
suppressPackageStartupMessages(library(metafor))

directory <- commandArgs(trailingOnly = TRUE)[1]
rows_of <- function(name) read.csv(file.path(directory, paste0(name, ".csv")))
studies <- lapply(c("37" = "studies_37", "79" = "studies_79", "1000" = "studies_1000"), rows_of)
effects <- as.matrix(rows_of("effects"))
new <- rows_of("new")$x
refits <- 1000
few_refits <- 50
permutations <- 200

fitted_to <- function(rows, test) rma(y, v, mods = ~x, data = rows, method = "REML", test = test)

regression <- function(rows) {
  fit <- fitted_to(rows, "adhoc")
  list(
    tau2 = fit$tau2, beta = fit$beta, se = fit$se, p_value = fit$pval, ci_lower = fit$ci.lb,
    ci_upper = fit$ci.ub, qe = fit$QE, qe_p = fit$QEp, qm = fit$QM, qm_p = fit$QMp, i2 = fit$I2,
    r2 = fit$R2
  )
}
binomial_normal <- function(rows) {
  fit <- rma.glmm(measure = "PLO", xi = events, ni = n, mods = ~x, data = rows)
  list(tau2 = fit$tau2, beta = fit$beta, se = fit$se, p_value = fit$pval)
}
intercept_only <- rma(y, v, data = studies[["79"]], method = "REML", test = "z")
fit_for_new <- fitted_to(studies[["37"]], "adhoc")

# Each task gives its numbers; `times` scales the time of a task done in part.
tasks <- list(
  reml_37 = list(run = function() regression(studies[["37"]]), times = 1),
  reml_79 = list(run = function() regression(studies[["79"]]), times = 1),
  reml_1000 = list(run = function() regression(studies[["1000"]]), times = 1),
  binomial_37 = list(run = function() binomial_normal(studies[["37"]]), times = 1),
  binomial_79 = list(run = function() binomial_normal(studies[["79"]]), times = 1),
  leave_one_out = list(run = function() {
    fits <- leave1out(intercept_only)
    list(beta = fits$estimate, p_value = fits$pval, tau2 = fits$tau2, qe = fits$Q)
  }, times = 1),
  bootstrap = list(run = function() {
    rows <- studies[["37"]]
    fits <- lapply(seq_len(few_refits), function(i) {
      rows$y <- effects[i, ]
      fitted_to(rows, "z")
    })
    list(tau2 = sapply(fits, function(fit) fit$tau2), slope = sapply(fits, function(fit) fit$beta[2]))
  }, times = refits / few_refits),
  permutation = list(run = function() {
    set.seed(1)
    fit <- fitted_to(studies[["37"]], "z")
    test <- permutest(fit, iter = permutations, progbar = FALSE)
    list(statistic = fit$zval[2], p_value_random = test$pval[2])
  }, times = refits / permutations),
  predict = list(run = function() {
    at <- predict(fit_for_new, newmods = new)
    list(mean = at$pred, se = at$se, pi_lower = at$pi.lb, pi_upper = at$pi.ub)
  }, times = 1),
  multilevel = list(run = function() {
    rows <- studies[["79"]]
    rows$row <- seq_len(nrow(rows))
    fit <- rma.mv(nested, v, mods = ~x, random = ~ 1 | group/row, data = rows, test = "t")
    list(sigma2 = fit$sigma2, beta = fit$beta, se = fit$se, p_value = fit$pval)
  }, times = 1)
)

answer <- function(words) {
  task <- tasks[[words[3]]]
  if (words[1] == "numbers") {
    numbers <- task$run()
    values <- sapply(numbers, function(x) paste(sprintf("%.17g", as.numeric(x)), collapse = ","))
    return(paste(paste(names(numbers), values, sep = "="), collapse = " "))
  }
  loops <- as.integer(words[4])
  start <- proc.time()
  for (i in seq_len(loops)) task$run()
  spent <- proc.time() - start
  sprintf("%.9g", sum(spent[c("user.self", "sys.self")]) / loops * task$times)
}

say("yardstick metafor ", as.character(packageVersion("metafor")), " ",
    paste(names(tasks), collapse = " "))
say("ready")
input <- file("stdin", open = "r")
while (length(line <- readLines(input, n = 1)) > 0) {
  say(tryCatch(
    paste("ok", answer(strsplit(line, " ")[[1]])),
    error = function(e) paste("error", gsub("\n", " ", conditionMessage(e)))
  ))
}
