"""What a card must answer: keys, places and our own short labels.

The labels are ours; the wording of the regulation and of the checklist is in
their sources: 45 CFR 170.315(b)(11)(iv)(B) (89 FR 1192) and TRIPOD+AI (Collins
and others, BMJ 2024, doi:10.1136/bmj-2023-078378).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REGULATION: Final = "45 CFR 170.315(b)(11)(iv)(B)"

ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "Details and output": {
        "developer": "Developer and contact",
        "funding": "Funding of the technical implementation",
        "output_value": "What the output is",
        "output_type": "Kind of output",
    },
    "Purpose": {
        "intended_use": "Intended use",
        "intended_patients": "Intended patients",
        "intended_users": "Intended users",
        "decision_role": "Role in the decision",
    },
    "Cautioned use": {
        "cautioned_against": "Tasks, situations and patients cautioned against",
        "risks_and_limits": "Known risks, unsuitable settings and uses, limits",
    },
    "Development and inputs": {
        "training_criteria": "What the training data include and exclude",
        "demographic_inputs": "Personal characteristics among the inputs",
        "training_representativeness": "Whom the training data represent",
        "training_relevance": "Relevance of the training data to the place of use",
    },
    "Fairness in development": {
        "fairness_approach": "What was done so that the output is fair",
        "bias_approach": "What was done about bias",
    },
    "External validation": {
        "external_data": "Data and setting other than those of training",
        "external_party": "Who validated externally",
        "external_representativeness": "Whom the external data represent",
        "external_process": "How external validation was done",
    },
    "Measured performance": {
        "validity_same_source": "Validity in data of the same source",
        "fairness_same_source": "Fairness in data of the same source",
        "validity_external": "Validity in external data",
        "fairness_external": "Fairness in external data",
        "outcome_evaluations": "Studies of the effect on patient outcomes",
    },
    "Maintenance": {
        "validity_monitoring": "How and how often validity is watched",
        "validity_local": "Validity in local data",
        "fairness_monitoring": "How and how often fairness is watched",
        "fairness_local": "Fairness in local data",
    },
    "Updates": {
        "update_process": "How and how often the model is updated",
        "correction_process": "How soon performance is corrected when a risk is found",
    },
}
"""The 31 source attributes in the order of the regulation: group -> key -> label.

The position of a group is its number in the paragraph, the position in the group
the roman one: (B)(1)(i) to (B)(9)(ii).
"""

ROMAN: Final = ("i", "ii", "iii", "iv", "v")

TRIPOD: Final[Mapping[str, str]] = {
    "1": "Title",
    "2": "Abstract",
    "3a": "Clinical context and existing models",
    "3b": "Patients, place in care, users",
    "3c": "Health inequalities",
    "4": "Objectives",
    "5a": "Sources of data",
    "5b": "Dates of data",
    "6a": "Settings",
    "6b": "Eligibility",
    "6c": "Treatments",
    "7": "Preparation of data",
    "8a": "Outcome and horizon",
    "8b": "Outcome raters",
    "8c": "Blinding of outcome raters",
    "9a": "Choice of predictors",
    "9b": "Definition of predictors",
    "9c": "Predictor raters",
    "10": "Sample size",
    "11": "Missing data",
    "12a": "Use of data for fitting and checking",
    "12b": "Form of the predictors",
    "12c": "Kind of model, fitting, internal validation",
    "12d": "Differences between clusters",
    "12e": "Measures of performance",
    "12f": "Updating of the model",
    "12g": "How a prediction is computed",
    "13": "Class imbalance",
    "14": "Fairness",
    "15": "Kind of output and thresholds",
    "16": "Development against use",
    "17": "Ethics approval",
    "18a": "Funding",
    "18b": "Conflicts of interest",
    "18c": "Protocol",
    "18d": "Registration",
    "18e": "Data availability",
    "18f": "Code availability",
    "19": "Patients and public taking part",
    "20a": "Flow of participants",
    "20b": "Characteristics of participants",
    "20c": "Development and evaluation data compared",
    "21": "Participants and events in each analysis",
    "22": "Complete specification",
    "23a": "Performance with intervals",
    "23b": "Performance by cluster",
    "24": "Results of updating",
    "25": "Interpretation",
    "26": "Limits",
    "27a": "Poor or missing inputs",
    "27b": "What the user must do and know",
    "27c": "Next studies",
}
"""The 52 parts of the 27 TRIPOD+AI items: number -> our label."""

APPLIED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "BasicInfo": ("ModelName", "ModelDeveloper", "DeveloperContact"),
    "ReleaseInfo": (
        "ReleaseStage",
        "ReleaseDate",
        "ReleaseVersion",
        "GlobalAvailability",
        "RegulatoryApproval",
    ),
    "ModelSummary": ("Summary",),
    "UsesAndDirections": (
        "IntendedUseAndWorkflow",
        "PrimaryIntendedUsers",
        "HowToUse",
        "TargetedPatientPopulation",
        "CautionedOutOfScopeSettings",
    ),
    "Warnings": (
        "KnownRisksAndLimitations",
        "KnownBiasesOrEthicalConsiderations",
        "ClinicalRiskLevel",
    ),
    "AISystemFacts": (
        "OutcomesAndOutputs",
        "ModelType",
        "FoundationModels",
        "InputDataSource",
        "OutputAndInputDataTypes",
        "DevelopmentDataCharacterization",
        "BiasMitigationApproaches",
        "OngoingMaintenance",
        "Security",
        "Transparency",
    ),
    "TransparencyInformation": ("FundingSource", "ThirdPartyInformation", "StakeholdersConsulted"),
    "Resources": (
        "EvaluationReferences",
        "ClinicalTrial",
        "PeerReviewedPublications",
        "ReimbursementStatus",
        "PatientConsentOrDisclosure",
    ),
}
"""Text fields of the CHAI applied model card 0.2, by group, in its order.

The card leaves out ``EHRCompatibility`` (no record system was tested).
"""

METRICS: Final = ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability")
METRIC_FIELDS_BEFORE: Final = ("MetricGoal",)
METRIC_FIELDS_AFTER: Final = (
    "Interpretation",
    "TestType",
    "TestingDataDescription",
    "ValidationProcessAndJustification",
)
