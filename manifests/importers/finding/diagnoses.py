"""Diagnoses: the words of public tables, each with the class of ISIC's that it is counted to.

Notable choices, where challenges differ:
- Intraepithelial carcinoma (Bowen's disease) is AKIEC as in ISIC 2018; invasive squamous cell
  carcinoma is SCC as in ISIC 2019.
- Solar lentigo, seborrheic and lichenoid keratoses are BKL as in ISIC 2018. So is a lentigo without
  further words, which ISIC 2020 has 44 of.
- Melanoma is MEL at any stage, metastases included.
"""

MELANOMAS = (
    "melanoma",
    "melanoma in situ",
    "melanoma invasive",
    "melanoma, invasive",
    "melanoma, nos",
    "melanoma metastasis",
    "melanoma (in situ)",
    "melanoma (less than 0.76 mm)",
    "melanoma (0.76 to 1.5 mm)",
    "melanoma (more than 1.5 mm)",
    "lentigo maligna",
)

NEVI = (
    "nevus",
    "blue nevus",
    "clark nevus",
    "combined nevus",
    "common nevus",
    "atypical nevus",
    "congenital nevus",
    "dermal nevus",
    "recurrent nevus",
    "reed or spitz nevus",
    "melanocytic nevus",
    "nevus, nos",
    "nevus, atypical, dysplastic, or clark",
    "nevus, blue",
    "nevus, combined",
    "nevus, congenital",
    "nevus, dermal",
    "nevus, recurrent",
    "nevus, reed",
    "nevus, spitz",
    "nevus spilus",
    "nevus, spilus",
)

KERATOSES = (
    "seborrheic keratosis",
    "pigmented benign keratosis",
    "benign keratosis",
    "solar lentigo",
    "lentigo nos",
    "lichenoid keratosis",
    "lichen planus like keratosis",
)

VASCULAR = (
    "vascular lesion",
    "angioma",
    "hemangioma",
    "cherry angioma",
    "angiokeratoma",
    "pyogenic granuloma",
    "hemangioma, nos",
)

DIAGNOSES: dict[str, str] = {
    **dict.fromkeys(MELANOMAS, "MEL"),
    **dict.fromkeys(NEVI, "NV"),
    **dict.fromkeys(KERATOSES, "BKL"),
    **dict.fromkeys(VASCULAR, "VASC"),
    "basal cell carcinoma": "BCC",
    "actinic keratosis": "AKIEC",
    "solar or actinic keratosis": "AKIEC",
    "squamous cell carcinoma in situ": "AKIEC",
    "squamous cell carcinoma": "SCC",
    "squamous cell carcinoma, nos": "SCC",
    "squamous cell carcinoma, invasive": "SCC",
    "dermatofibroma": "DF",
}
"""The words of a diagnosis in lower case, and its class."""
