"""Value labels as the archives print them, written down by hand: in other words than the codebooks', and right.

From the questionnaires and codebooks of WVS 7, ISSP (GESIS), ESS, GSS and Afrobarometer 8.
"""

from __future__ import annotations


def count(*labels: str, first: int = 1) -> dict[str, str]:
    return {str(code): label for code, label in enumerate(labels, first)}


SEX = count("Male", "Female")
WVS_MARITAL = count(
    "Married", "Living together as married", "Divorced", "Separated", "Widowed", "Single/Never married"
)  # fmt: skip
ISSP_MARITAL = count(
    "Married", "Civil partnership",
    "Separated from spouse/ civil partner (still legally married/ still legally in a civil partnership)",
    "Divorced from spouse/ legally separated from civil partner", "Widowed/ civil partner died",
    "Never married/ never in a civil partnership",
)  # fmt: skip
ESS_MARITAL = count(
    "Legally married", "In a legally registered civil union", "Legally separated",
    "Legally divorced/Civil union dissolved", "Widowed/Civil partner died",
    "None of these (NEVER married or in legally registered civil union)",
)  # fmt: skip
PLACE = count(
    "A big city", "Suburbs or outskirts of big city", "Town or small city", "Country village",
    "Farm or home in countryside",
)  # fmt: skip
ISCED = count(
    "Early childhood education (ISCED 0) / no education", "Primary education (ISCED 1)",
    "Lower secondary education (ISCED 2)", "Upper secondary education (ISCED 3)",
    "Post-secondary non-tertiary education (ISCED 4)", "Short-cycle tertiary education (ISCED 5)",
    "Bachelor or equivalent (ISCED 6)", "Master or equivalent (ISCED 7)", "Doctoral or equivalent (ISCED 8)", first=0,
)  # fmt: skip
ISSP_DEGREE = count(
    "No formal education", "Primary school (elementary school)",
    "Lower secondary (secondary completed does not allow entry to university: obligatory school)",
    "Upper secondary (programs that allows entry to university)",
    "Post secondary, non-tertiary (other upper secondary programs toward labour market or technical formation)",
    "Lower level tertiary, first stage (also technical schools at a tertiary level)",
    "Upper level tertiary (Master, Dr.)", first=0,
)  # fmt: skip
ESS_EDUCATION = count(
    "ES-ISCED I , less than lower secondary", "ES-ISCED II, lower secondary",
    "ES-ISCED IIIb, lower tier upper secondary",
    "ES-ISCED IIIa, upper tier upper secondary", "ES-ISCED IV, advanced vocational, sub-degree",
    "ES-ISCED V1, lower tertiary education, BA level", "ES-ISCED V2, higher tertiary education, >= MA level",
)  # fmt: skip
WVS_RELIGION = count(
    "Do not belong to a denomination", "Roman Catholic", "Protestant", "Orthodox (Russian/Greek/etc.)", "Jew", "Muslim",
    "Hindu", "Buddhist", "Other Christian (Evangelical/Pentecostal/Free church/etc.)", "Other", first=0,
)  # fmt: skip
ISSP_RELIGION = count(
    "No religion", "Catholic", "Protestant", "Orthodox", "Other Christian", "Jewish", "Islamic", "Buddhist", "Hindu",
    "Other Asian Religions", "Other Religions", first=0,
)  # fmt: skip
AGREE_5 = count("Agree strongly", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly")
AGREE_4 = count("Strongly agree", "Agree", "Disagree", "Strongly disagree")
CONFIDENCE = count("A great deal", "Quite a lot", "Not very much", "None at all")
MENTIONED = count("Mentioned", "Not mentioned")
ENDS_11 = {"0": "No trust at all", **{str(i): str(i) for i in range(1, 10)}, "10": "Complete trust"}
LIKE_ME = count(
    "Very much like me", "Like me", "Somewhat like me", "A little like me", "Not like me", "Not like me at all"
)
ISSP = {
    "gender": SEX, "marital": ISSP_MARITAL, "religion": ISSP_RELIGION,
    "residence": count(
        "A big city", "The suburbs or outskirts of a big city", "A town or a small city", "A country village",
        "A farm or home in the country",
    ),
}  # fmt: skip
ESS = {
    "gender": SEX, "marital": ESS_MARITAL, "residence": PLACE, "education": ESS_EDUCATION,
    "education_level": ESS_EDUCATION, "religion": count("Yes", "No"), "trust_police": ENDS_11,
    "gays_free": AGREE_5, "values_creativity": LIKE_ME,
    "interest_in_politics": count("Very interested", "Quite interested", "Hardly interested", "Not at all interested"),
    "allow_poorer_countries": count("Allow many to come and live here", "Allow some", "Allow a few", "Allow none"),
    "health": count("Very good", "Good", "Fair", "Bad", "Very bad"),
    "trust_people": {"0": "You can't be too careful", "5": "5", "10": "Most people can be trusted"},
    "immigration_economy": {"0": "Bad for the economy", "10": "Good for the economy"},
}  # fmt: skip
#: Per codebook, by attribute or value.
PUBLISHED = {
    "wvs7": {
        "gender": SEX, "marital": WVS_MARITAL, "residence": count("Urban", "Rural"), "education": ISCED,
        "education_level": ISCED, "religion": WVS_RELIGION, "reject_immigrants": MENTIONED,
        "child_obedience": count("Important", "Not mentioned"), "confidence_wto": CONFIDENCE,
        "people_can_be_trusted": count("Most people can be trusted", "Need to be very careful"),
        "important_family": count("Very important", "Rather important", "Not very important", "Not at all important"),
        "happiness": count("Very happy", "Quite happy", "Not very happy", "Not at all happy"),
        "justify_abortion": {"1": "Never justifiable", **{str(i): str(i) for i in range(2, 10)},
                             "10": "Always justifiable"},
        "moral_rules_unclear": {"1": "Completely agree", **{str(i): str(i) for i in range(2, 10)},
                                "10": "Completely disagree"},
        "good_democracy": count("Very good", "Fairly good", "Fairly bad", "Very bad"),
        "votes_national": count("Always", "Usually", "Never"),
        "immigration_fills_jobs": count("Disagree", "Hard to say", "Agree", first=0),
        "attendance": count("More than once a week", "Once a week", "Once a month", "Only on special holy days",
                            "Once a year", "Less often", "Never, practically never"),
        "religious_person": count("A religious person", "Not a religious person", "An atheist"),
        "without_food": count("Often", "Sometimes", "Rarely", "Never"),
        "health": count("Very good", "Good", "Fair", "Poor", "Very poor"),
        "bribes_frequent": count("Never", "Rarely", "Frequently", "Always"),
        "better_off_than_parents": count("Better off", "Worse off", "Or about the same"),
    },
    "wvs-trend": {
        "gender": SEX, "marital": WVS_MARITAL, "education": count("Lower", "Middle", "Upper"),
        "education_level": count("Lower", "Middle", "Upper"), "residence": count("Urban", "Rural"),
        "respect_for_authority": count("Good thing", "Don't mind", "Bad thing"),
        "restrict_immigration": count("Let anyone come", "As long as jobs available", "Strict limits",
                                      "Prohibit people from coming"),
    },
    "issp2012": ISSP | {
        "education": ISSP_DEGREE, "education_level": ISSP_DEGREE, "working_mother_warm": AGREE_5,
        "happiness": count("Completely happy", "Very happy", "Fairly happy", "Neither happy nor unhappy",
                           "Fairly unhappy", "Very unhappy", "Completely unhappy"),
        "work_with_preschool_child": count("Work full-time", "Work part-time", "Stay at home"),
    },
    "issp2014": ISSP | {
        "education": ISSP_DEGREE, "education_level": ISSP_DEGREE,
        "citizen_votes": {"1": "Not at all important", "7": "Very important"},
        "action_petition": count("Have done in the past year", "Have done in the more distant past",
                                 "Have not done but might do it", "Have not done and would never do it"),
    },
    "issp2016": ISSP | {
        "education": ISSP_DEGREE,
        "spend_health": count("Spend much more", "Spend more", "Spend the same as now", "Spend less",
                              "Spend much less"),
        "responsible_jobs": count("Definitely should be", "Probably should be", "Probably should not be",
                                  "Definitely should not be"),
        "officials_corrupt": count("Almost none", "A few", "Some", "Quite a lot", "Almost all"),
    },
    "issp2019": ISSP | {
        "education": ISSP_DEGREE,
        "ahead_wealthy_family": count("Essential", "Very important", "Fairly important", "Not very important",
                                      "Not important at all"),
        "taxes_on_rich_too_low": count("Much too high", "Too high", "About right", "Too low", "Much too low"),
        "distribution_fair": count("Very fair", "Fair", "Unfair", "Very unfair"),
        "people_can_be_trusted": count(
            "People can almost always be trusted", "People can usually be trusted",
            "You usually can't be too careful in dealing with people",
            "You almost always can't be too careful in dealing with people"),
    },
    "issp2020": ISSP | {
        "education": ISCED, "education_level": ISCED, "science_solves": AGREE_5,
        "accept_higher_taxes": count("Very willing", "Fairly willing", "Neither willing nor unwilling",
                                     "Fairly unwilling", "Very unwilling"),
        "dangerous_cars": count("Extremely dangerous for the environment", "Very dangerous", "Somewhat dangerous",
                                "Not very dangerous", "Not dangerous at all for the environment"),
        "environmental_petition": count("Yes, I have", "No, I have not"),
    },
    "ess9": ESS, "ess10": ESS, "ess11": ESS,
    "gss": {
        "gender": count("MALE", "FEMALE"), "race": count("WHITE", "BLACK", "OTHER"),
        "marital": count("MARRIED", "WIDOWED", "DIVORCED", "SEPARATED", "NEVER MARRIED"),
        "education": count("LESS THAN HIGH SCHOOL", "HIGH SCHOOL", "ASSOCIATE/JUNIOR COLLEGE", "BACHELOR'S", "GRADUATE",
                           first=0),
        "education_level": count("LT HIGH SCHOOL", "HIGH SCHOOL", "JUNIOR COLLEGE", "BACHELOR", "GRADUATE", first=0),
        "residence": count("12 LARGEST SMSAs", "SMSAs 13-100", "SUBURB, 12 LARGEST", "SUBURB, 13-100", "OTHER URBAN",
                           "OTHER RURAL"),
        "religion": count("Protestant", "Catholic", "Jewish", "None", "Other", "Buddhism", "Hinduism",
                          "Other eastern religions", "Muslim/Islam", "Orthodox-Christian", "Christian",
                          "Native American", "Inter-nondenominational"),
        "happiness": count("VERY HAPPY", "PRETTY HAPPY", "NOT TOO HAPPY"),
        "people_can_be_trusted": count("CAN TRUST", "CANNOT TRUST", "DEPENDS"),
        "people_fair": count("TAKE ADVANTAGE", "FAIR", "DEPENDS"),
        "republican": count("STRONG DEMOCRAT", "NOT STR DEMOCRAT", "IND,NEAR DEM", "INDEPENDENT", "IND,NEAR REP",
                            "NOT STR REPUBLICAN", "STRONG REPUBLICAN", first=0),
        "conservative": count("EXTREMELY LIBERAL", "LIBERAL", "SLIGHTLY LIBERAL", "MODERATE", "SLGHTLY CONSERVATIVE",
                              "CONSERVATIVE", "EXTRMLY CONSERVATIVE"),
        "attendance": count("NEVER", "LT ONCE A YEAR", "ONCE A YEAR", "SEVRL TIMES A YR", "ONCE A MONTH",
                            "2-3X A MONTH",
                            "NRLY EVERY WEEK", "EVERY WEEK", "MORE THN ONCE WK", first=0),
        "premarital_sex_ok": count("ALWAYS WRONG", "ALMST ALWAYS WRG", "SOMETIMES WRONG", "NOT WRONG AT ALL"),
        "spend_health": count("TOO LITTLE", "ABOUT RIGHT", "TOO MUCH"),
        "death_penalty": count("FAVOR", "OPPOSE"), "abortion_health": count("YES", "NO"),
        "speech_atheist": count("YES, ALLOWED TO SPEAK", "NOT ALLOWED"),
        "legal_marijuana": count("SHOULD", "SHOULD NOT"),
        "more_immigrants": count("Increased a lot", "Increased a little", "Remain the same as it is",
                                 "Reduced a little", "Reduced a lot"),
        "confidence_banks": count("A GREAT DEAL", "ONLY SOME", "HARDLY ANY"),
        "easier_divorce": count("EASIER", "MORE DIFFICULT", "STAY SAME"),
        "hard_work_pays": count("HARD WORK", "BOTH EQUALLY", "LUCK OR HELP"),
    },
    "afrobarometer8": {
        "gender": count("Man", "Woman"),
        "residence": {"1": "Urban", "2": "Rural", "3": "Semi-urban", "460": "Peri-urban"},
        "education": count(
            "No formal schooling", "Informal schooling only (including Koranic schooling)", "Some primary schooling",
            "Primary school completed", "Intermediate school or Some secondary school / high school",
            "Secondary school / high school completed",
            "Post-secondary qualifications, other than university e.g. a diploma or degree from a polytechnic or "
            "college",
            "Some university", "University completed", "Post-graduate", first=0),
        "trust_president": count("Not at all", "Just a little", "Somewhat", "A lot", first=0),
        "people_can_be_trusted": count("Must be very careful", "Most people can be trusted", first=0),
        "without_food": count("Never", "Just once or twice", "Several times", "Many times", "Always", first=0),
    },
}  # fmt: skip
